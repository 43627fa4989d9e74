//! HTTP/1.1 connections that are kept alive, each with a base of its own to come back to.
//!
//! A connection talks to its home; when that does not answer it goes on with the next base, and tries home again some seconds later.
//! Nothing here repeats a request that may have been sent: that is decided where the key is known. One that was to go over a connection
//! that the other side had closed by then was not, and takes a new one.

use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// An answer longer than this is not one of ours.
const ANSWER_BYTES: usize = 1 << 20;
/// Away from home for at most this long.
const AWAY: Duration = Duration::from_secs(5);

/// `http://host:port`, without a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Base {
    authority: String,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a base URL for a load: expected http://host:port")]
pub struct BadBase(pub String);

impl FromStr for Base {
    type Err = BadBase;

    fn from_str(text: &str) -> Result<Self, BadBase> {
        let bad = || BadBase(text.to_owned());
        let uri: http::Uri = text.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?;
        let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.query().is_none();
        if !plain {
            return Err(bad());
        }
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self { authority: format!("{}:{port}", authority.host()) })
    }
}

/// Why there is no answer: whether the request was carried out is not known, unless it was never sent.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    #[error("not connected: {0}")]
    NotConnected(std::io::Error),
    #[error("no answer: {0}")]
    Broken(#[from] hyper::Error),
    #[error("no whole answer: {0}")]
    Cut(String),
    #[error("no answer in time")]
    TooLate,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// Retry-After in seconds.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}

struct Connection {
    home: usize,
    at: usize,
    left_home: Instant,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// A bounded number of connections, shared by all requests.
#[derive(Clone)]
pub struct Pool {
    bases: Arc<[Base]>,
    /// In turn, so that a load that needs only one at a time is spread over all bases too.
    idle: Arc<Mutex<VecDeque<Connection>>>,
    places: Arc<Semaphore>,
    answer_by: Duration,
}

/// What is asked for: all but where.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: http::Method,
    pub path: String,
    /// Without `Bearer`.
    pub credential: Arc<str>,
    pub idempotency_key: Option<String>,
    pub body: Bytes,
}

impl Pool {
    pub fn new(bases: Vec<Base>, connections: usize, answer_by: Duration) -> Self {
        let connection = |n| {
            let home = n % bases.len().max(1);
            Connection { home, at: home, left_home: Instant::now(), sender: None }
        };
        let idle = (0..connections).map(connection).collect();
        Self {
            idle: Arc::new(Mutex::new(idle)),
            places: Arc::new(Semaphore::new(connections)),
            bases: bases.into(),
            answer_by,
        }
    }

    /// A place in which to send; waits for one.
    pub async fn place(&self) -> OwnedSemaphorePermit {
        #[expect(clippy::expect_used, reason = "nobody closes the semaphore")]
        Arc::clone(&self.places).acquire_owned().await.expect("places are never closed")
    }

    /// Sends once. The place is given back with the answer.
    pub async fn send(&self, asked: &Asked, place: OwnedSemaphorePermit) -> Result<Answer, Lost> {
        let taken = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let mut connection =
            taken.unwrap_or_else(|| Connection { home: 0, at: 0, left_home: Instant::now(), sender: None });
        let sent = tokio::time::timeout(self.answer_by, self.once(&mut connection, asked)).await;
        let answer = sent.unwrap_or(Err(Lost::TooLate));
        if answer.is_err() {
            connection.sender = None;
            if connection.at == connection.home {
                connection.left_home = Instant::now();
            }
            connection.at = (connection.at + 1) % self.bases.len();
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push_back(connection);
        drop(place);
        answer
    }

    async fn once(&self, connection: &mut Connection, asked: &Asked) -> Result<Answer, Lost> {
        if connection.at != connection.home && connection.left_home.elapsed() > AWAY {
            (connection.at, connection.sender) = (connection.home, None);
        }
        let base = &self.bases[connection.at];
        let mut request = request(base, asked)?;
        if let Some(mut kept) = connection.sender.take() {
            match sent(&mut kept, request).await {
                Ok(response) => {
                    connection.sender = Some(kept);
                    return answer(response).await;
                }
                Err(Unsent { request: Some(unsent), .. }) => request = unsent,
                Err(Unsent { why, .. }) => return Err(why.into()),
            }
        }
        let sender = connection.sender.insert(connect(base).await?);
        let response = sent(sender, request).await.map_err(|unsent| unsent.why)?;
        answer(response).await
    }
}

struct Unsent {
    /// None: bytes of it may have left.
    request: Option<Request<Full<Bytes>>>,
    why: hyper::Error,
}

async fn sent(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Response<hyper::body::Incoming>, Unsent> {
    if let Err(why) = sender.ready().await {
        return Err(Unsent { request: Some(request), why });
    }
    let unsent = |mut error: TrySendError<_>| Unsent { request: error.take_message(), why: error.into_error() };
    sender.try_send_request(request).await.map_err(unsent)
}

async fn connect(base: &Base) -> Result<SendRequest<Full<Bytes>>, Lost> {
    let stream = TcpStream::connect(&base.authority).await.map_err(Lost::NotConnected)?;
    stream.set_nodelay(true).map_err(Lost::NotConnected)?;
    let (sender, driver) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = driver.await {
            tracing::debug!(%error, "a connection ended");
        }
    });
    Ok(sender)
}

fn request(base: &Base, asked: &Asked) -> Result<Request<Full<Bytes>>, Lost> {
    let mut request = Request::builder()
        .method(asked.method.clone())
        .uri(&asked.path)
        .header(http::header::HOST, &base.authority)
        .header(http::header::AUTHORIZATION, format!("Bearer {}", asked.credential));
    if let Some(key) = &asked.idempotency_key {
        request = request.header("idempotency-key", key).header(http::header::CONTENT_TYPE, "application/json");
    }
    request.body(Full::new(asked.body.clone())).map_err(|error| Lost::Cut(error.to_string()))
}

async fn answer(response: Response<hyper::body::Incoming>) -> Result<Answer, Lost> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|error| Lost::Cut(error.to_string()))?;
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_a_host_and_a_port() {
        assert_eq!("http://127.0.0.1:15001/".parse::<Base>().unwrap().authority, "127.0.0.1:15001");
        assert_eq!("http://pay.example".parse::<Base>().unwrap().authority, "pay.example:80");
        for bad in ["https://x:1", "127.0.0.1:15001", "http://x/v1", "ftp://x", ""] {
            assert!(bad.parse::<Base>().is_err(), "{bad}");
        }
    }
}
