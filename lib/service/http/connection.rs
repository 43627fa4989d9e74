//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use super::guests::{Busy, UnderWay};
use super::{Peer, head};

/// What the protocol takes of a request's line and headers: more than [`head`] lets pass, so that there is a proper answer.
const HEAD_BYTES: usize = 4 * head::HEADER_BYTES;
const HEADERS: usize = 4 * head::HEADERS;
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 128;
/// The first letters of HTTP/2's preface (RFC 9113, 3.4); no method of HTTP/1 begins with them.
const PREFACE: &[u8; 3] = b"PRI";
/// For whoever is told to go before its time, to hear it.
const FAREWELL: Duration = Duration::from_millis(500);
/// A peer that acknowledges nothing for this long is gone.
const DEAF_PEER: Duration = Duration::from_secs(30);

pub(super) struct Connection<S> {
    pub service: S,
    pub peer: SocketAddr,
    pub until: Until,
    pub busy: Arc<Busy>,
}

/// What ends a connection.
#[derive(Clone)]
pub(super) struct Until {
    /// For the first bytes, for headers, and for an idle connection.
    pub patience: Duration,
    /// The port is being left: the next answer is the last of its connection.
    pub stop: CancellationToken,
    /// Nobody is let in any more: no further request after those under way.
    pub closed: CancellationToken,
    /// Likewise, and soon after the last: the place is wanted.
    pub leave: CancellationToken,
    /// Ends now.
    pub cut: CancellationToken,
}

enum Version {
    Http1,
    Http2,
}

impl<S, B> Connection<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) async fn serve(self, stream: TcpStream) {
        stream.set_nodelay(true).ok();
        rustix::net::sockopt::set_tcp_user_timeout(&stream, DEAF_PEER.as_millis() as u32).ok();
        let Until { patience, stop, closed, leave, .. } = self.until.clone();
        // hyper's own guessing of the version has no time limit, so the version is told by looking first.
        let version = tokio::select! {
            biased;
            version = tokio::time::timeout(patience, version_of(&stream)) => version,
            // Who has only just got in is about to say something.
            () = after(&closed, FAREWELL) => return,
            () = leave.cancelled() => return,
        };
        let Ok(Some(version)) = version else { return };
        let last = matches!(version, Version::Http1).then_some(stop);
        let io = TokioIo::new(stream);
        let (peer, counted, inner) = (Peer(self.peer), Arc::clone(&self.busy), self.service.clone());
        let service = tower::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let under_way = UnderWay::begin(&counted);
            let (answer, last) = (inner.clone().oneshot(request), last.clone());
            async move {
                let mut answer = answer.await?;
                if last.is_some_and(|last| last.is_cancelled()) {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer.map(|body| {
                    body.map_err(move |error| {
                        let _ends_with_the_body = &under_way;
                        error
                    })
                }))
            }
        });
        let service = TowerToHyperService::new(service);
        match version {
            Version::Http1 => {
                let mut builder = http1::Builder::new();
                builder
                    .timer(TokioTimer::new())
                    .header_read_timeout(patience)
                    .max_header_size(HEAD_BYTES)
                    .max_headers(HEADERS)
                    .max_buf_size(HEAD_BYTES);
                self.until.drive(builder.serve_connection(io, service), &self.busy, &closed).await;
            }
            Version::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(STREAMS)
                    .max_header_list_size(HEAD_BYTES as u32)
                    .keep_alive_interval(DEAF_PEER / 2)
                    .keep_alive_timeout(patience);
                // Its farewell loses no request, so a kept one goes at once; one that was made since would only be made again.
                let last = if self.until.stop.is_cancelled() { &closed } else { &self.until.stop };
                self.until.drive(builder.serve_connection(io, service), &self.busy, last).await;
            }
        }
    }
}

impl Until {
    /// Until the client closes it, it idles for too long, or `last` lets no further request in.
    async fn drive<C: GracefulConnection>(&self, connection: C, busy: &Busy, last: &CancellationToken) {
        let mut connection = pin!(connection);
        let mut look = tokio::time::interval(self.patience);
        let mut parting = tokio::time::interval(FAREWELL);
        let (mut closing, mut wanted_away) = (false, false);
        loop {
            tokio::select! {
                biased;
                // How a connection ends is the client's business: resets and timeouts are everyday.
                _ = connection.as_mut() => return,
                () = self.cut.cancelled() => return,
                () = shortly_after(last), if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = self.leave.cancelled(), if !wanted_away => {
                    (closing, wanted_away) = (true, true);
                    connection.as_mut().graceful_shutdown();
                    parting.reset();
                }
                // What was read in this very moment has begun by now.
                _ = parting.tick(), if wanted_away => if busy.is_idle() { return },
                // HTTP/1 has its header timer; this is for HTTP/2, where a silent client could stay for ever: even told to go
                // it would, since the farewell waits for its echo.
                _ = look.tick() => match (busy.is_idle_for(self.patience), closing) {
                    (true, false) => {
                        closing = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    (true, true) => return,
                    (false, _) => {}
                },
            }
        }
    }
}

async fn after(token: &CancellationToken, pause: Duration) {
    token.cancelled().await;
    tokio::time::sleep(pause).await;
}

/// When the network has been looked at once more: a request that had come by then has begun.
async fn shortly_after(token: &CancellationToken) {
    token.cancelled().await;
    tokio::task::yield_now().await;
}

/// Between two looks at what a client has sent of its first words.
const PEEK: Duration = Duration::from_millis(5);

/// None: the client left without a word.
async fn version_of(stream: &TcpStream) -> Option<Version> {
    let mut first = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut first).await.ok()?;
        if seen == 0 {
            return None;
        }
        if first[..seen] != PREFACE[..seen] {
            return Some(Version::Http1);
        }
        if seen == PREFACE.len() {
            return Some(Version::Http2);
        }
        // Peeking again would return at once with the same bytes.
        tokio::time::sleep(PEEK).await;
    }
}
