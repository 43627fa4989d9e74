//! The admin port: is the process alive, may it be sent work, what are its numbers.
//!
//! *Alive* says that the event loop turns. *Ready* says that what it cannot do without is there (its readiness is given to it
//! as a question); losing Kafka or Redis only degrades, so it does not unready.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Response, StatusCode, header};
use tokio_util::sync::CancellationToken;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::telemetry::metrics::Metrics;

/// Why no work should be sent here, in words for an operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotReady(pub String);

/// Asks whether the process may be sent work.
pub type Readiness = Arc<dyn Fn() -> BoxFuture<'static, Result<(), NotReady>> + Send + Sync>;

/// A balancer's probe must not hang as long as a request may.
const READINESS_LIMIT: Duration = Duration::from_secs(1);

/// `GET /livez`, `/readyz` and `/metrics`.
pub fn routes(metrics: Metrics, readiness: Readiness, stop: CancellationToken) -> BoxedFilter<(Response<String>,)> {
    let live = warp::path!("livez").map(|| answer(StatusCode::OK, "alive"));
    let ready = warp::path!("readyz").then(move || {
        let (readiness, stop) = (Arc::clone(&readiness), stop.clone());
        async move { ready(&readiness, &stop).await }
    });
    let numbers = warp::path!("metrics").map(move || {
        let mut response = answer(StatusCode::OK, &metrics.render());
        let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    });
    warp::get().and(live.or(ready).unify().or(numbers).unify()).boxed()
}

async fn ready(readiness: &Readiness, stop: &CancellationToken) -> Response<String> {
    if stop.is_cancelled() {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "stopping");
    }
    match tokio::time::timeout(READINESS_LIMIT, readiness()).await {
        Ok(Ok(())) => answer(StatusCode::OK, "ready"),
        Ok(Err(reason)) => answer(StatusCode::SERVICE_UNAVAILABLE, &reason.0),
        Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, "the readiness check did not answer within a second"),
    }
}

fn answer(status: StatusCode, text: &str) -> Response<String> {
    let mut response = Response::new(format!("{}\n", text.trim_end()));
    *response.status_mut() = status;
    // Ours, also when it is a 503: the server leaves its text alone.
    response.extensions_mut().insert(super::http::Route("health"));
    response
}
