//! A request as it arrives, and the ways in which it can be answered: or not at all.

use std::convert::Infallible;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use warp::Filter;
use warp::reply::Response;

use super::charge_log::Closed;
use super::house::{House, now};
use super::spoil::{Spoil, spoilt};

/// The connection that a request came over.
#[derive(Clone, Default)]
pub struct Line {
    /// Cancelled, it is reset without a further byte.
    pub cut: CancellationToken,
    /// Cancelled once an answer began that nobody may live to see the end of.
    pub endless: CancellationToken,
}

/// A request, whatever its route.
pub struct Call {
    pub arrived_at: OffsetDateTime,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub line: Line,
}

/// What becomes of a request.
pub enum Conduct {
    Answer(Reply),
    /// It does not arrive as it was sent.
    Spoilt(Reply, Spoil),
    /// The connection is cut at once.
    Cut,
    /// The connection stays open without an answer until the caller gives up, then it is cut.
    Silence,
}

pub struct Reply {
    pub status: StatusCode,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Reply {
    pub fn json(status: StatusCode, body: &Value) -> Self {
        Self::typed(status, "application/json", body.to_string())
    }

    pub fn typed(status: StatusCode, content_type: &'static str, body: String) -> Self {
        Self { status, headers: vec![("content-type", content_type.to_owned())], body }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Conduct {
    pub fn spoilt(self, spoil: Option<Spoil>) -> Self {
        match (self, spoil) {
            (Self::Answer(reply), Some(spoil)) => Self::Spoilt(reply, spoil),
            (conduct, _) => conduct,
        }
    }

    /// With a header, if there is an answer at all.
    pub fn with(self, name: &'static str, value: impl Into<String>) -> Self {
        match self {
            Self::Answer(reply) => Self::Answer(reply.with(name, value)),
            Self::Spoilt(reply, spoil) => Self::Spoilt(reply.with(name, value), spoil),
            Self::Cut | Self::Silence => self,
        }
    }
}

impl From<Reply> for Conduct {
    fn from(reply: Reply) -> Self {
        Self::Answer(reply)
    }
}

impl Call {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The pairs of a form-encoded text, in order.
    pub fn pairs(text: &[u8]) -> Vec<(String, String)> {
        serde_urlencoded::from_bytes(text).unwrap_or_default()
    }

    /// Whether the caller shows this token as its bearer.
    pub fn bears(&self, token: &str) -> bool {
        let shown = self.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        shown.is_some_and(|shown| same(shown, token))
    }

    /// Whether the caller shows this name and password.
    pub fn knows(&self, name: &str, password: &str) -> bool {
        let shown = self.header("authorization").and_then(|value| value.strip_prefix("Basic "));
        let decoded = shown.and_then(|shown| BASE64_STANDARD.decode(shown).ok());
        decoded.is_some_and(|shown| shown.ct_eq(format!("{name}:{password}").as_bytes()).into())
    }
}

fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// Takes whatever has come as a [`Call`].
pub fn call() -> impl Filter<Extract = (Call,), Error = warp::Rejection> + Clone {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::any()
        .map(now)
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Line>())
        .and(warp::body::bytes())
        .map(|arrived_at, query, headers, line, body| Call { arrived_at, query, headers, body, line })
}

/// Carries out what was decided about a call. A closed log answers nothing.
pub async fn carry_out(house: &House, line: Line, conduct: Result<Conduct, Closed>) -> Result<Response, Infallible> {
    match conduct {
        Ok(Conduct::Answer(reply)) => Ok(response(reply)),
        Ok(Conduct::Spoilt(reply, spoil)) => Ok(spoilt(house, &line, reply, spoil)),
        Ok(Conduct::Silence) => {
            let patience = tokio::time::sleep(Duration::from_millis(house.settings.unanswered_ms));
            tokio::select! {
                () = patience => {}
                () = house.stop.cancelled() => {}
            }
            cut(&line).await
        }
        Ok(Conduct::Cut) | Err(Closed) => cut(&line).await,
    }
}

/// The answer as it should be.
pub fn response(reply: Reply) -> Response {
    let mut response = Response::new(reply.body.into());
    *response.status_mut() = reply.status;
    for (name, value) in reply.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

/// Cuts the connection, and this call with it: there is never an answer.
async fn cut(line: &Line) -> Result<Response, Infallible> {
    line.cut.cancel();
    std::future::pending().await
}
