//! The admin port: is the process alive, may it be sent work, what are its numbers.
//!
//! *Alive* says that the event loop turns. *Ready* says that what it cannot do without is there (its readiness is given to it
//! as a question); losing Kafka or Redis only degrades, so it does not unready: it is told beside it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderValue, StatusCode, header};
use tokio_util::sync::CancellationToken;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::http::{Problem, Route};
use super::telemetry::metrics::Metrics;

/// Why no work should be sent here, in words for an operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotReady(pub String);

/// Asks whether the process may be sent work.
pub type Readiness = Arc<dyn Fn() -> BoxFuture<'static, Result<(), NotReady>> + Send + Sync>;

/// What the process goes on without, each with the reason: for whoever asks whether it is ready, and wonders why nothing moves.
#[derive(Clone, Debug, Default)]
pub struct Missing(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Missing {
    /// What is said of this server from now on; None: it is there. True: that is news.
    pub fn tell(&self, server: &'static str, reason: Option<String>) -> bool {
        let mut missing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => missing.insert(server, reason).is_none(),
            None => missing.remove(server).is_some(),
        }
    }

    /// A line for each.
    fn lines(&self) -> String {
        let missing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        missing.iter().map(|(server, reason)| format!("without {server}: {reason}\n")).collect()
    }
}

/// A balancer's probe must not hang as long as a request may.
const READINESS_LIMIT: Duration = Duration::from_secs(1);

/// `GET /livez`, `/readyz` and `/metrics`.
pub fn routes(
    metrics: Metrics,
    readiness: Readiness,
    missing: Missing,
    stop: CancellationToken,
) -> BoxedFilter<(Response,)> {
    let live = warp::path!("livez").map(|| text("livez", "alive\n".into(), "text/plain"));
    let ready = warp::path!("readyz").then(move || {
        let (readiness, missing, stop) = (Arc::clone(&readiness), missing.clone(), stop.clone());
        async move {
            match ready(&readiness, &stop).await {
                Ok(()) => text("readyz", format!("ready\n{}", missing.lines()), "text/plain"),
                Err(reason) => refusal(reason),
            }
        }
    });
    let numbers = warp::path!("metrics").map(move || text("metrics", metrics.render(), "text/plain; version=0.0.4"));
    let known = warp::path!("livez").or(warp::path!("readyz")).unify().or(warp::path!("metrics")).unify();
    let otherwise = known.map(|| routed("admin", Problem::method_not_allowed("GET").into_response()));
    warp::get().and(live.or(ready).unify().or(numbers).unify()).or(otherwise).unify().boxed()
}

async fn ready(readiness: &Readiness, stop: &CancellationToken) -> Result<(), NotReady> {
    if stop.is_cancelled() {
        return Err(NotReady("stopping".into()));
    }
    let asked = tokio::time::timeout(READINESS_LIMIT, readiness()).await;
    asked.unwrap_or_else(|_| Err(NotReady("PostgreSQL did not answer within a second".into())))
}

fn text(route: &'static str, text: String, kind: &'static str) -> Response {
    let mut response = text.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    routed(route, response)
}

fn routed(route: &'static str, mut response: Response) -> Response {
    response.extensions_mut().insert(Route(route));
    response
}

fn refusal(reason: NotReady) -> Response {
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "No work may be sent here now");
    routed("readyz", problem.detail(reason.0).retry_after(READINESS_LIMIT).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_until_it_is_back_and_is_news_once() {
        let missing = Missing::default();
        assert!(missing.tell("Kafka", Some("it does not answer".into())));
        assert!(
            !missing.tell("Kafka", Some("a topic is missing".into())),
            "the reason is newer, that it is missing is not news"
        );
        assert_eq!(missing.lines(), "without Kafka: a topic is missing\n");
        assert!(missing.tell("Kafka", None) && !missing.tell("Kafka", None));
        assert_eq!(missing.lines(), "");
    }
}
