//! Answers that are spoilt on their way: the caller gets a head that looks like any other, and then this.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::{HeaderValue, StatusCode, header};
use warp::Reply as _;
use warp::reply::Response;

use super::house::House;
use super::line::{Line, Reply, response};

/// 16 MiB of blanks, packed: `head -c 16777216 /dev/zero | tr '\0' ' ' | gzip -9n`.
const PACKED_BLANKS: &[u8] = include_bytes!("bomb.gz");
/// Members of a gzip file may follow each other (RFC 1952, 2.2): this many unpack to a gibibyte.
const MEMBERS: usize = 64;
const BLANKS: Bytes = Bytes::from_static(&[b' '; 65_536]);
/// As many of them are a gibibyte.
const BLANK_CHUNKS: usize = 16_384;
/// No byte of UTF-8.
const NO_TEXT: [u8; 24] = [0xff; 24];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spoil {
    Reset,
    Drip,
    Huge,
    Bomb,
    Garbage,
}

/// The answer as it goes out. Of garbage and what is endless the status is always a good one.
pub fn spoilt(house: &House, line: &Line, reply: Reply, spoil: Spoil) -> Response {
    let whole = Bytes::from(reply.body.clone());
    let half = whole.slice(..whole.len() / 2);
    match spoil {
        Spoil::Reset => {
            let line = line.clone();
            // The half leaves before the connection is looked at again.
            let reset = stream::once(async move {
                line.cut.cancel();
                std::future::pending::<Bytes>().await
            });
            let body = stream::StreamExt::chain(stream::iter([half]), reset);
            with_body(reply, Some(whole.len()), body)
        }
        Spoil::Drip => {
            line.endless.cancel();
            let pace = Duration::from_millis(house.settings.drip_ms);
            let length = whole.len();
            let body = stream::unfold((whole, 0), move |(whole, at)| async move {
                if at == whole.len() {
                    return None;
                }
                tokio::time::sleep(pace).await;
                Some((whole.slice(at..=at), (whole, at + 1)))
            });
            with_body(reply, Some(length), body)
        }
        Spoil::Huge => {
            line.endless.cancel();
            let blanks = std::iter::repeat_n(BLANKS, BLANK_CHUNKS);
            with_body(good(reply), None, stream::iter(blanks.chain([whole])))
        }
        Spoil::Bomb => {
            line.endless.cancel();
            let members = std::iter::repeat_n(Bytes::from_static(PACKED_BLANKS), MEMBERS);
            let length = PACKED_BLANKS.len() * MEMBERS;
            with_body(good(reply).with("content-encoding", "gzip"), Some(length), stream::iter(members))
        }
        Spoil::Garbage => {
            let mut response = response(good(reply));
            *response.body_mut() = [&half[..], &NO_TEXT].concat().into();
            response
        }
    }
}

fn good(reply: Reply) -> Reply {
    Reply { status: StatusCode::OK, ..reply }
}

/// The head of an honest answer over this body.
fn with_body(reply: Reply, length: Option<usize>, body: impl Stream<Item = Bytes> + Send + Sync + 'static) -> Response {
    let chunks = stream::StreamExt::map(body, Ok::<_, Infallible>);
    let mut spoilt = response(reply);
    *spoilt.body_mut() = std::mem::take(warp::reply::stream(chunks).into_response().body_mut());
    if let Some(length) = length {
        spoilt.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    spoilt
}
