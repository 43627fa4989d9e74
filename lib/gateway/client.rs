//! The HTTP client of all gateways: bounded in time and size, it follows nothing, repeats nothing, and says exactly whether a byte of
//! a request may have left.
//!
//! It stands on hyper's connections instead of reqwest: reqwest's pool sends a request again on a new connection when a kept one turns
//! out closed, looks at no deadline between connecting and sending, and cannot tell afterwards whether bytes have left. Redirects,
//! proxies from the environment and compressed answers do not exist here at all.
//!
//! ```text
//! kept connection, still good ─┐
//! connect (name, TCP, TLS) ────┴▶ send_by not passed? ─▶ first byte ─▶ answer, ≤ 256 KiB ─▶ connection kept
//!   └──────────── NotSent ◀────────────┘ no                └──────────────▶ Lost
//! ```
//!
//! If it dies here: the operation row says that the request may have left; the gateway is asked.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HOST, USER_AGENT};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::time::timeout_at;
use tower::Service;

use super::Deadline;
use super::answer::Answer;
use super::breaker::{Breaker, Health};
use super::connection::{Connection, Unanswered, told};
use super::settings::Limits;
use crate::domain::outcome::Outcome;
use crate::service::failpoint::{self, Window};
use crate::service::planted::{self, Bug};

/// Bytes of an answer's body; a longer one is not read on.
const ANSWER_LIMIT: usize = 256 * 1024;
/// Connections kept for later at most.
const KEPT_LIMIT: usize = 256;

/// Why there is no answer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Failure {
    #[error("nothing was sent: {0}")]
    NotSent(String),
    #[error("sent, but without a readable answer: {0}")]
    Lost(String),
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotSent(why) => Self::Unreachable { why },
            Failure::Lost(why) if planted::is(Bug::LostTakenForNotSent) => Self::Unreachable { why },
            Failure::Lost(why) => Self::Unknown { why },
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("is not an http or https URL without a query")]
pub(super) struct BadBaseUrl;

#[derive(Debug, thiserror::Error)]
pub(super) enum BadAuthority {
    #[error("holds no readable certificate in PEM")]
    Certificate,
    #[error("cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

/// Where a gateway is.
pub(super) struct Origin {
    uri: Uri,
    host: HeaderValue,
    /// The path of the base URL, without a slash at its end.
    prefix: String,
}

impl FromStr for Origin {
    type Err = BadBaseUrl;

    fn from_str(base_url: &str) -> Result<Self, BadBaseUrl> {
        let uri: Uri = base_url.parse().map_err(|_| BadBaseUrl)?;
        let named = matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none();
        let authority = uri.authority().filter(|_| named).map(Authority::as_str).ok_or(BadBaseUrl)?;
        let host = HeaderValue::from_str(authority).map_err(|_| BadBaseUrl)?;
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { uri, host, prefix })
    }
}

/// Makes the sockets of one gateway.
pub(super) type Connector = HttpsConnector<HttpConnector>;

/// A request as an adapter makes it. `path` begins with a slash and may carry a query; empty: the base URL as it stands.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

struct Kept {
    connection: Connection,
    since: Instant,
}

/// Calls one gateway.
pub(super) struct Client {
    gateway: &'static str,
    origin: Origin,
    connector: Connector,
    limits: Limits,
    kept: Mutex<Vec<Kept>>,
    breaker: Arc<Breaker>,
}

impl Client {
    pub(super) fn new(gateway: &'static str, origin: Origin, connector: Connector, limits: Limits) -> Self {
        let breaker = Arc::new(Breaker::new(gateway, limits.breaker));
        Self { gateway, origin, connector, limits, kept: Mutex::default(), breaker }
    }

    pub(super) fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }

    /// Somebody waited since `begun` until the deadline for what another exchange should have brought, and did not come to call.
    pub(super) fn gave_up(&self, begun: Instant, deadline: Deadline) {
        self.tell(begun, deadline, Health::Ill);
    }

    /// A call that was begun too late to be sent, by a process that stood still, says nothing of the gateway.
    fn tell(&self, begun: Instant, deadline: Deadline, health: Health) {
        if begun < deadline.send_by {
            self.breaker.told(begun, health);
        }
    }

    /// Makes the call: sent once or not at all, answered by `deadline.answer_by` or not at all.
    pub(super) async fn call(&self, call: Call, deadline: Deadline) -> Result<Answer, Failure> {
        let begun = Instant::now();
        let answer = self.exchange(call, deadline).await;
        self.tell(begun, deadline, health(&answer));
        let result = match &answer {
            Ok(answer) => match answer.status.as_u16() {
                ..300 => "2xx",
                300..400 => "3xx",
                400..500 => "4xx",
                _ => "5xx",
            },
            Err(Failure::NotSent(_)) => "not_sent",
            Err(Failure::Lost(_)) => "lost",
        };
        metrics::histogram!("payfleet_gateway_http_seconds", "gateway" => self.gateway, "result" => result)
            .record(begun.elapsed().as_secs_f64());
        answer
    }

    async fn exchange(&self, call: Call, deadline: Deadline) -> Result<Answer, Failure> {
        let mut request = Box::new(self.request(call)?);
        loop {
            let kept = timeout_at(deadline.send_by.into(), self.take_kept()).await.ok().flatten();
            let was_kept = kept.is_some();
            let mut connection = match kept {
                Some(kept) => kept,
                None => self.connect(deadline).await?,
            };
            let answer = timeout_at(deadline.answer_by.into(), async {
                let response = connection.send(*request, deadline.send_by).await?;
                failpoint::reached(Window::C10).await;
                read(response).await
            });
            match answer.await {
                Ok(Ok(answer)) => {
                    self.keep(connection);
                    return Ok(answer);
                }
                // A kept connection was closed before it took the request over: proven unsent, so that another may take it.
                Ok(Err(Unanswered::NotSent { request: Some(back), .. })) if was_kept => request = back,
                Ok(Err(Unanswered::NotSent { why, .. })) => return Err(Failure::NotSent(why)),
                Ok(Err(Unanswered::Lost { why })) => return Err(Failure::Lost(why)),
                Err(_) if connection.may_have_sent() => return Err(Failure::Lost("no whole answer in time".into())),
                Err(_) => return Err(Failure::NotSent("it could not be sent in time".into())),
            }
        }
    }

    fn request(&self, call: Call) -> Result<Request<Full<Bytes>>, Failure> {
        let target = match format!("{}{}", self.origin.prefix, call.path) {
            empty if empty.is_empty() => "/".to_owned(),
            target => target,
        };
        let uri: Uri = target.parse().map_err(|_| Failure::NotSent("the request's path is not a path".into()))?;
        let mut request = Request::new(Full::new(call.body));
        *request.method_mut() = call.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = call.headers;
        request.headers_mut().insert(HOST, self.origin.host.clone());
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("payfleet"));
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(request)
    }

    async fn connect(&self, deadline: Deadline) -> Result<Connection, Failure> {
        let not_sent = |why: String| Failure::NotSent(format!("no connection: {why}"));
        let by = deadline.send_by.min(Instant::now() + self.limits.connect());
        let mut connector = self.connector.clone();
        let connected = async {
            let stream =
                connector.call(self.origin.uri.clone()).await.map_err(|error| not_sent(told(error.as_ref())))?;
            Connection::over(stream).await.map_err(|error| not_sent(told(&error)))
        };
        metrics::counter!("payfleet_gateway_connections_total", "gateway" => self.gateway).increment(1);
        timeout_at(by.into(), connected).await.map_err(|_| not_sent("not made in time".into()))?
    }

    /// The connection that was used last, if one is still good.
    async fn take_kept(&self) -> Option<Connection> {
        loop {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if kept.since.elapsed() < self.limits.idle() && kept.connection.is_usable().await {
                return Some(kept.connection);
            }
        }
    }

    fn keep(&self, connection: Connection) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| kept.since.elapsed() < self.limits.idle());
        if !connection.is_closed() && kept.len() < KEPT_LIMIT {
            kept.push(Kept { connection, since: Instant::now() });
        }
    }
}

fn health(answer: &Result<Answer, Failure>) -> Health {
    match answer {
        Ok(answer) if !matches!(answer.status.as_u16(), 408 | 500..) => Health::Well,
        _ => Health::Ill,
    }
}

/// Reads the body, counting: whatever the headers say, no more than the limit is taken.
async fn read(response: Response<Incoming>) -> Result<Answer, Unanswered> {
    let lost = |why: String| Unanswered::Lost { why };
    let (head, body) = response.into_parts();
    if head.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(lost("the answer is compressed, which was not asked for".into()));
    }
    let body = Limited::new(body, ANSWER_LIMIT).collect().await.map_err(|error| lost(told(error.as_ref())))?;
    Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
}

/// `authority_pem` is trusted besides the public authorities; empty: none.
pub(super) fn connector(authority_pem: &str, limits: &Limits) -> Result<Connector, BadAuthority> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
        roots.add(certificate.map_err(|_| BadAuthority::Certificate)?).map_err(|_| BadAuthority::Certificate)?;
    }
    if roots.len() == webpki_roots::TLS_SERVER_ROOTS.len() && !authority_pem.trim().is_empty() {
        return Err(BadAuthority::Certificate);
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    // The kernel gives up on bytes that the other side does not take: none arrives after the call is over.
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(limits.call()));
    Ok(HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp))
}
