//! An answer over HTTP, and what its status says at every gateway alike.

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use super::json;
use crate::domain::outcome::Outcome;
use crate::service::retry::policy;

/// A gateway that asks for more patience than a day is not understood.
const LONGEST_S: u64 = 24 * 3_600;

#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, json::Unreadable> {
        json::read(&self.body)
    }

    /// What follows from the status alone; None where the body decides.
    ///
    /// 401 and 403 refuse our credentials before anything is booked (RFC 9110: "has not been applied", "refuses to fulfill"). That is
    /// not the payment's fault, so it is [`Outcome::Later`]: another route may take it, and this one once the credentials are right.
    pub(super) fn by_status(&self) -> Option<Outcome> {
        match self.status.as_u16() {
            401 | 403 => Some(Outcome::Later {
                retry_after_ms: Some(policy::CREDENTIALS.first_ms()),
                code: "credentials_refused".into(),
            }),
            429 => Some(Outcome::Later { retry_after_ms: self.retry_after_ms(), code: "rate_limited".into() }),
            300..=399 => Some(self.unknown("a redirect, which is not followed")),
            408 | 500.. => Some(self.unknown("the gateway failed")),
            _ => None,
        }
    }

    pub(super) fn unknown(&self, why: impl std::fmt::Display) -> Outcome {
        Outcome::Unknown { why: format!("HTTP {}: {why}", self.status.as_u16()) }
    }

    /// `Retry-After` in seconds (RFC 9110, 10.2.3); its other form, a date, depends on two clocks and is ignored.
    fn retry_after_ms(&self) -> Option<u64> {
        let seconds: u64 = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(seconds.min(LONGEST_S) * 1_000)
    }
}

#[cfg(test)]
impl Answer {
    pub(super) fn made(status: u16, body: &str) -> Self {
        let status = StatusCode::from_u16(status).unwrap();
        Self { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_rate_limits_put_off_and_never_fail_a_payment() {
        for status in [401, 403, 429] {
            assert!(matches!(Answer::made(status, "").by_status(), Some(Outcome::Later { .. })), "{status}");
        }
        let mut answer = Answer::made(429, "");
        for (value, retry_after_ms) in
            [("7", Some(7_000)), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("999999", Some(86_400_000))]
        {
            answer.headers.insert(RETRY_AFTER, value.parse().unwrap());
            assert_eq!(answer.by_status(), Some(Outcome::Later { retry_after_ms, code: "rate_limited".into() }));
        }
    }

    #[test]
    fn redirects_and_failures_of_the_gateway_are_unknown() {
        for status in [300, 302, 307, 308, 408, 500, 502, 503, 504, 599] {
            assert!(matches!(Answer::made(status, "").by_status(), Some(Outcome::Unknown { .. })), "{status}");
        }
        for status in [200, 201, 400, 402, 404, 409, 422] {
            assert_eq!(Answer::made(status, "").by_status(), None, "{status}");
        }
    }
}
