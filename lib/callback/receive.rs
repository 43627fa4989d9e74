//! `POST /v1/callbacks/{gateway}`: a 2xx is only ever sent after the message is committed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::callbacks::{NewCallback, Storing};
use crate::gateway::{CallbackRefusal, Gateway, Gateways};
use crate::outbox::doorbell::Doorbell;
use crate::postgres::clock::DatabaseClock;
use crate::postgres::combiner::{Combiner, Refused};
use crate::sealing::{Sealer, aad};
use crate::service::failpoint::{self, Window};
use crate::service::http::{Problem, Route, body};
use crate::service::planted::{self, Bug};
use crate::service::telemetry::trace;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Messages under way at the same time. They have this room to themselves, however many payments come in.
    pub at_once: usize,
    /// Bytes of a message at most.
    pub body_bytes: usize,
    /// For a message to arrive.
    pub body_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { at_once: 512, body_bytes: 256 * 1024, body_ms: 3_000 }
    }
}

/// What receiving stands on.
#[derive(Clone)]
pub struct Receiver(Arc<Parts>);

struct Parts {
    settings: Settings,
    gateways: Gateways,
    storing: Combiner<Storing>,
    sealer: Sealer,
    doorbell: Doorbell,
    clock: DatabaseClock,
    room: Semaphore,
    tracker: TaskTracker,
}

impl Receiver {
    pub fn new(
        settings: Settings,
        gateways: Gateways,
        storing: Combiner<Storing>,
        sealer: Sealer,
        doorbell: Doorbell,
        clock: DatabaseClock,
        tracker: TaskTracker,
    ) -> Self {
        let room = Semaphore::new(settings.at_once);
        Self(Arc::new(Parts { settings, gateways, storing, sealer, doorbell, clock, room, tracker }))
    }

    /// The route, for the server that carries it. Every answer is made here: nothing becomes a rejection once the path fits.
    pub fn routes(&self) -> BoxedFilter<(Response,)> {
        let receiver = self.clone();
        warp::path!("v1" / "callbacks" / String)
            .and(warp::method())
            .and(warp::header::headers_cloned())
            .and(warp::body::stream())
            .then(move |gateway: String, method: Method, headers: HeaderMap, stream| {
                let receiver = receiver.clone();
                async move {
                    let answer = receiver.answer(&gateway, &method, headers, stream).await;
                    let mut response = match answer {
                        Ok(()) => StatusCode::ACCEPTED.into_response(),
                        Err(problem) => problem.into_response(),
                    };
                    response.extensions_mut().insert(Route("/v1/callbacks/{gateway}"));
                    response
                }
            })
            .boxed()
    }

    async fn answer<S, B, E>(&self, name: &str, method: &Method, headers: HeaderMap, stream: S) -> Result<(), Problem>
    where
        S: futures_util::Stream<Item = Result<B, E>>,
        B: bytes::Buf,
    {
        let parts = &self.0;
        if method != Method::POST {
            return Err(Problem::method_not_allowed("POST"));
        }
        let gateway = parts.gateways.get(name).cloned().ok_or_else(unknown_gateway)?;
        if !is_taken_type(&headers) {
            return Err(Problem::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
                .detail("Callbacks are application/json, application/xml or text/xml."));
        }
        let limit = Duration::from_millis(parts.settings.body_ms);
        let body = body::read(stream, parts.settings.body_bytes, limit).await?;
        // Only now: whoever never ends a message keeps no other one out.
        let _room = parts.room.try_acquire().map_err(|_| busy("Too many callbacks are under way."))?;
        let callback = self.verified(gateway.as_ref(), &headers, &body)?;
        failpoint::reached(Window::C13).await;
        // In a task of its own: a gateway that hangs up does not stop a commit half-way.
        let storing = parts.storing.clone();
        let stored = parts.tracker.spawn(async move { storing.submit(callback).await });
        if planted::is(Bug::CallbackThankedBeforeCommit) {
            return Ok(());
        }
        match stored.await {
            Ok(Ok(stored)) => {
                parts.clock.heard(stored.now);
                failpoint::reached(Window::C14).await;
                parts.doorbell.ring();
                count(gateway.name(), if stored.new { "stored" } else { "duplicate" });
                Ok(())
            }
            Ok(Err(refused)) => {
                count(gateway.name(), "not_stored");
                Err(not_stored(&refused))
            }
            Err(panicked) => {
                tracing::error!(%panicked, "storing a callback panicked");
                Err(Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR))
            }
        }
    }

    fn verified(&self, gateway: &dyn Gateway, headers: &HeaderMap, body: &Bytes) -> Result<NewCallback, Problem> {
        let parts = &self.0;
        let notice = gateway.read_callback(headers, body, parts.clock.now()).map_err(|refusal| {
            let (outcome, problem) = refused(&refusal);
            count(gateway.name(), outcome);
            tracing::warn!(gateway = gateway.name(), %refusal, "callback refused");
            problem
        })?;
        let id = Uuid::now_v7();
        let raw = parts.sealer.seal(&aad(id, "raw"), body);
        Ok(NewCallback { id, gateway: gateway.name(), notice, raw, traceparent: trace::traceparent() })
    }
}

fn count(gateway: &'static str, outcome: &'static str) {
    metrics::counter!("payfleet_callback_received_total", "gateway" => gateway, "outcome" => outcome).increment(1);
}

fn refused(refusal: &CallbackRefusal) -> (&'static str, Problem) {
    let (outcome, mut problem) = match refusal {
        CallbackRefusal::Unreadable(_) => {
            ("unreadable", Problem::new(StatusCode::BAD_REQUEST, "callback_unreadable", "The callback cannot be read"))
        }
        CallbackRefusal::Stale { .. } => (
            "stale",
            Problem::new(StatusCode::UNAUTHORIZED, "callback_stale", "The callback's signature is not of now"),
        ),
        CallbackRefusal::Unsigned(_) | CallbackRefusal::BadSignature => (
            "bad_signature",
            Problem::new(StatusCode::UNAUTHORIZED, "callback_signature", "The callback's signature does not verify"),
        ),
    };
    // A signature is not a scheme in which a client could be asked to say who it is.
    problem.challenge = None;
    (outcome, problem.detail(refusal.to_string()))
}

fn unknown_gateway() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_gateway", "There is no such gateway")
}

fn busy(detail: &str) -> Problem {
    Problem::of_status(StatusCode::SERVICE_UNAVAILABLE).detail(detail)
}

/// Whatever the reason: without a commit there is no 2xx, and the gateway sends the message again.
fn not_stored(why: &Refused) -> Problem {
    tracing::warn!(%why, "a callback was not stored");
    busy("The callback was not stored; send it again.")
}

fn is_taken_type(headers: &HeaderMap) -> bool {
    let content_type =
        headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(essence.as_str(), "application/json" | "application/xml" | "text/xml")
}
