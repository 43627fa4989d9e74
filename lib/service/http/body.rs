//! Reading a request's body with a bound on its bytes and on its time.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::StatusCode;

use super::Problem;

/// What is read and thrown away of a body that is too large, so that its sender reads the answer instead of a reset connection.
const DISCARDED_BYTES: usize = 256 * 1024;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("the body is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
    #[error("the body did not arrive within {limit:?}")]
    TooSlow { limit: Duration },
    #[error("the connection broke while the body arrived")]
    Broken,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Error::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Error::Broken => StatusCode::BAD_REQUEST,
        };
        Self::of_status(status).detail(error.to_string())
    }
}

/// The whole body, as it comes from `warp::body::stream()`. Bytes are counted: a chunked body declares no length.
pub async fn read<S, B, E>(stream: S, limit_bytes: usize, limit: Duration) -> Result<Bytes, Error>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    tokio::time::timeout(limit, collect(stream, limit_bytes)).await.unwrap_or(Err(Error::TooSlow { limit }))
}

async fn collect<S, B, E>(stream: S, limit_bytes: usize) -> Result<Bytes, Error>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    let mut stream = std::pin::pin!(stream);
    let mut body = BytesMut::new();
    let mut seen = 0;
    while let Some(chunk) = stream.next().await {
        let Ok(chunk) = chunk else {
            return Err(if seen > limit_bytes { Error::TooLarge { limit_bytes } } else { Error::Broken });
        };
        seen += chunk.remaining();
        if seen > limit_bytes + DISCARDED_BYTES {
            break;
        }
        if seen <= limit_bytes {
            let mut chunk = chunk;
            body.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
        }
    }
    if seen > limit_bytes { Err(Error::TooLarge { limit_bytes }) } else { Ok(body.freeze()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    const LONG: Duration = Duration::from_secs(5);

    fn chunks(sizes: &[usize]) -> impl Stream<Item = Result<Bytes, ()>> {
        stream::iter(sizes.iter().map(|size| Ok(Bytes::from(vec![b'x'; *size]))).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn a_body_is_counted_whatever_length_it_declares() {
        assert_eq!(read(chunks(&[4, 6]), 10, LONG).await.unwrap().len(), 10);
        assert_eq!(read(chunks(&[4, 7]), 10, LONG).await, Err(Error::TooLarge { limit_bytes: 10 }));
        assert_eq!(read(chunks(&[1_000_000; 1_000]), 10, LONG).await, Err(Error::TooLarge { limit_bytes: 10 }));
    }

    #[tokio::test]
    async fn a_body_that_stops_arriving_is_given_up() {
        let stalled = stream::pending::<Result<Bytes, ()>>();
        let limit = Duration::from_millis(5);
        assert_eq!(read(stalled, 10, limit).await, Err(Error::TooSlow { limit }));
    }
}
