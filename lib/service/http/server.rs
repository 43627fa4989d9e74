//! The accept loop and what surrounds every route of a port.
//!
//! A connection costs one slot from its first byte to its last. When slots become scarce those connections are closed that have been
//! idle longest, and a house full of requests answers 503 at once. Every wait on a client has a bound: for its first bytes, its headers
//! (which is the limit of an idle connection, too), its whole request.
//!
//! ```text
//! open ──told to stop──▶ leaving: still accepts, each answer ends its connection ──leave_ms──▶ closed: who had got in by then is
//!        served, requests under way finish ──drain_ms──▶ what is left is cut
//! ```
//! It is left open for a while because whoever sends clients here learns only by and by that it should not.
//!
//! If it dies here: clients see a reset connection. Whatever a request had begun goes on in tasks of its own, or not at all.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceBuilder};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use warp::Filter;

use super::Problem;
use super::connection::{Connection, Until};
use super::guests::{Busy, Guests};
use super::head::Bounded;
use super::network::{self, Network};
use super::render::{REQUEST_ID, Rendered};
use crate::service::process;
use crate::service::retry::policy;
use crate::service::shares::{NoPlace, Shares};
use crate::service::telemetry::trace;

/// Bounds of one port.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at the same time: before one more comes the longest idle one goes, or it is answered 503. Fewer if the process may not have that many file descriptors.
    pub connections: usize,
    /// Of them, those of one address.
    pub connections_per_address: usize,
    /// Whose connections are not counted by their address, since they are other people's.
    #[serde(skip)]
    pub proxies: Vec<Network>,
    /// For the first bytes, for the headers of each request, and for an idle connection.
    pub header_ms: u64,
    /// Nobody is told to go for others' sake who has been idle for less.
    pub undisturbed_ms: u64,
    /// For a whole request, from its headers to its answer. Longer than any wait that a client may ask for.
    pub request_ms: u64,
    /// For any body; routes have smaller bounds of their own.
    pub body_bytes: usize,
    /// Told to stop, how long it goes on accepting connections. `/readyz` says at once that nobody should come any more; this is the time
    /// to hear of it. A second suits a proxy that looks often, or takes a refused connection elsewhere by itself. Where it takes longer
    /// (Kubernetes tells its proxies within seconds) give it more, or let a `preStop` hook wait. 0: nobody stands in front.
    pub leave_ms: u64,
    /// After that, for requests under way.
    pub drain_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            connections_per_address: 1_024,
            proxies: Vec::new(),
            header_ms: 10_000,
            undisturbed_ms: 1_000,
            request_ms: 40_000,
            body_bytes: 1024 * 1024,
            leave_ms: 1_000,
            drain_ms: 10_000,
        }
    }
}

/// Why a port could not be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{setting}: `{listen}` is not an address and port such as 127.0.0.1:15001")]
    NotAnAddress { listen: String, setting: &'static str },
    #[error(
        "port {port} is in use by another program: choose another by setting {setting}={host}:PORT (0 takes any free one)"
    )]
    InUse { host: String, port: u16, setting: &'static str },
    #[error("{listen} cannot be opened ({error}): choose another by setting {setting}")]
    Refused { listen: SocketAddr, setting: &'static str, error: std::io::Error },
}

/// Opens a port. `setting` is the environment variable that chooses it, for the error that a person reads.
pub async fn bind(listen: &str, setting: &'static str) -> Result<TcpListener, BindError> {
    let address: SocketAddr =
        listen.parse().map_err(|_| BindError::NotAnAddress { listen: listen.to_owned(), setting })?;
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            BindError::InUse { host: address.ip().to_string(), port: address.port(), setting }
        }
        _ => BindError::Refused { listen: address, setting, error },
    })
}

/// Serves warp routes on an open port until `stop`. `port` names it in metrics.
pub async fn serve<F>(listener: TcpListener, routes: F, port: &'static str, limits: Limits, stop: CancellationToken)
where
    F: Filter<Error = warp::Rejection> + Clone + Send + Sync + 'static,
    F::Extract: warp::Reply + Send,
    F::Future: Send,
{
    let layers = ServiceBuilder::new()
        .layer(SetRequestIdLayer::x_request_id(FreshId))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(TraceLayer::new_for_http().make_span_with(span).on_request(()).on_response(()).on_failure(()))
        .layer(RequestBodyLimitLayer::new(limits.body_bytes))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            Duration::from_millis(limits.request_ms),
        ))
        .layer(CatchPanicLayer::custom(panicked));
    let service = Rendered { inner: layers.service(Bounded(warp::service(routes))), port };
    accept(listener, service, port, limits, stop).await;
}

fn fresh_id() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

/// A request without an id of its own gets one.
#[derive(Clone, Copy)]
struct FreshId;

impl MakeRequestId for FreshId {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        HeaderValue::try_from(fresh_id()).ok().map(RequestId::new)
    }
}

/// It knows the request by the id that its answer has.
fn span<B>(request: &Request<B>) -> tracing::Span {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let path = request.uri().path();
    let span = tracing::info_span!("request", method = %request.method(), path, request_id = id);
    if let Some(parent) = request.headers().get("traceparent").and_then(|parent| parent.to_str().ok()) {
        trace::follow(&span, parent);
    }
    span
}

/// The panic's own message may hold anything: it goes to the log only.
fn panicked(panic: Box<dyn std::any::Any + Send + 'static>) -> Response<Full<Bytes>> {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("(not a text)"), "a request's handler panicked");
    metrics::counter!("payfleet_http_panics_total").increment(1);
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.extensions_mut().insert(Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR));
    response
}

async fn accept<S, B>(listener: TcpListener, service: S, port: &'static str, limits: Limits, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (leave, drain) = (Duration::from_millis(limits.leave_ms), Duration::from_millis(limits.drain_ms));
    let mut open = Open::new(service, port, limits, stop.clone());
    let mut left = pin!(async {
        stop.cancelled().await;
        if !leave.is_zero() {
            tokio::time::sleep(leave).await;
        }
    });
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut left => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => open.let_in(stream, peer),
            Err(error) => rest_after(&error).await,
        }
    }
    // Their clients believe that they are connected: closed now, the port would reset them.
    for (stream, peer) in backlog(listener) {
        open.let_in(stream, peer);
    }
    let Open { connections, until, .. } = open;
    until.closed.cancel();
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(port, connections = connections.len(), "requests did not finish in time: connections are cut");
        until.cut.cancel();
        connections.wait().await;
    }
}

/// Closes the port, and gives those whom the system had connected to it by then.
fn backlog(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    // Asked directly: tokio knows of a connection only when it has looked.
    let accepted = std::iter::from_fn(|| listener.accept().ok()).take(BACKLOG);
    let taken = accepted.filter_map(|(stream, peer)| {
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, peer))
    });
    taken.collect()
}

/// A port that lets people in.
struct Open<S> {
    service: S,
    port: &'static str,
    limits: Limits,
    slots: Shares<IpAddr>,
    /// Fewer free ones, and somebody has to go.
    spare: usize,
    guests: Arc<Guests>,
    looked: Instant,
    until: Until,
    connections: TaskTracker,
}

impl<S, B> Open<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn new(service: S, port: &'static str, limits: Limits, stop: CancellationToken) -> Self {
        let places = slots(limits.connections, process::descriptors());
        let until = Until {
            patience: Duration::from_millis(limits.header_ms),
            stop,
            closed: CancellationToken::new(),
            leave: CancellationToken::new(),
            cut: CancellationToken::new(),
        };
        Self {
            service,
            port,
            slots: Shares::new(places, limits.connections_per_address),
            spare: (places / SPARE).max(1),
            limits,
            guests: Arc::default(),
            looked: Instant::now(),
            until,
            connections: TaskTracker::new(),
        }
    }

    fn let_in(&mut self, stream: TcpStream, peer: SocketAddr) {
        let port = self.port;
        let is_proxy = self.limits.proxies.iter().any(|proxy| proxy.contains(peer.ip()));
        let slot = self.slots.take((!is_proxy).then(|| network::customer(peer.ip())));
        self.make_room();
        let slot = match slot {
            Ok(slot) => slot,
            Err(why) => {
                metrics::counter!("payfleet_http_connections_refused_total", "port" => port).increment(1);
                return refuse(&stream, why);
            }
        };
        let (busy, leave) = (Arc::new(Busy::default()), CancellationToken::new());
        let until = Until { leave: leave.clone(), ..self.until.clone() };
        let connection = Connection { service: self.service.clone(), peer, until, busy: Arc::clone(&busy) };
        let guests = Arc::clone(&self.guests);
        let open = metrics::gauge!("payfleet_http_connections", "port" => port);
        self.connections.spawn(async move {
            let _stay = guests.receive(busy, leave);
            open.increment(1);
            connection.serve(stream).await;
            open.decrement(1);
            drop(slot);
        });
    }

    /// For those who come next.
    fn make_room(&mut self) {
        let free = self.slots.free();
        if free < self.spare && self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            let undisturbed = Duration::from_millis(self.limits.undisturbed_ms);
            let parted = self.guests.part_with(self.spare - free, undisturbed);
            metrics::counter!("payfleet_http_connections_evicted_total", "port" => self.port).increment(parted as u64);
        }
    }
}

/// More connections than that wait in no port's backlog.
const BACKLOG: usize = 4_096;
/// One place of so many is kept free for those who come next.
const SPARE: usize = 64;
/// Between two looks for who has been idle longest.
const LOOK: Duration = Duration::from_millis(10);

/// File descriptors that are not for the connections of one port: those of the stores, the other port, files.
const RESERVED: u64 = 256;

/// As many connections as are wanted, and as there are file descriptors for.
fn slots(wanted: usize, descriptors: u64) -> usize {
    let spare = descriptors.saturating_sub(RESERVED).max(descriptors / 4);
    wanted.min(usize::try_from(spare).unwrap_or(usize::MAX))
}

/// A connection that broke before it was taken is nothing; no file descriptors left is a state that lasts for a while.
async fn rest_after(error: &std::io::Error) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return;
    }
    tracing::error!(%error, "no connection can be accepted");
    tokio::time::sleep(policy::DOOR.first()).await;
}

/// No slot is left: says so if the socket takes it at once, and closes.
fn refuse(stream: &TcpStream, why: NoPlace) {
    let detail = match why {
        NoPlace::Room => "all connections are taken; repeat the request a little later",
        NoPlace::Share => "this address has all the connections that one may have; use them again",
    };
    // No request was read, so it has no id of its own.
    let request_id = fresh_id();
    tracing::debug!(request_id, detail, "a connection is refused");
    let body = Problem::of_status(StatusCode::SERVICE_UNAVAILABLE).detail(detail).to_json(Some(&request_id), None);
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nx-request-id: {request_id}\r\n\
         retry-after: 1\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.try_write(&[head.as_bytes(), &body].concat()).ok();
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing::span::{Attributes, Id};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    /// Notes the fields of spans.
    struct Noting(Arc<Mutex<String>>);

    impl<S: tracing::Subscriber> Layer<S> for Noting {
        fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
            self.0.lock().unwrap().push_str(&attributes.values().to_string());
        }
    }

    #[test]
    fn the_log_knows_a_request_by_the_id_that_its_client_is_told() {
        let noted = Arc::new(Mutex::new(String::new()));
        let subscriber = tracing_subscriber::registry().with(Noting(noted.clone()));
        tracing::subscriber::with_default(subscriber, || {
            drop(span(&Request::builder().uri("/v1/deposits").header(REQUEST_ID, "mine-1").body(()).unwrap()));
        });
        let noted = noted.lock().unwrap();
        assert!(noted.contains("mine-1") && noted.contains("/v1/deposits"), "{noted}");
    }

    #[test]
    fn connections_leave_file_descriptors_for_everything_else() {
        assert_eq!([slots(4_096, 1_048_576), slots(4_096, 1_024), slots(4_096, 200)], [4_096, 768, 50]);
    }
}
