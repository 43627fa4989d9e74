//! Errors as RFC 9457 problems. Every error answer of ours has this form, those of the framework included.

use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

/// Where the documentation page explains a code.
const TYPE_BASE: &str = "/docs/problems#";

/// One thing wrong with one field of a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FieldError {
    /// As in `destination.iban`.
    pub field: String,
    /// Stable, snake_case.
    pub code: &'static str,
    pub message: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { field: field.into(), code, message: message.into() }
    }
}

/// An error answer. It may be returned from a warp handler as it is (`impl warp::Reply`); the server adds what only it knows:
/// the request's id and path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    pub status: StatusCode,
    /// Stable, snake_case: what a program decides by.
    pub code: &'static str,
    pub title: &'static str,
    pub detail: Option<String>,
    pub errors: Vec<FieldError>,
    /// Whether the very same request may succeed later.
    pub retryable: bool,
    pub retry_after: Option<Duration>,
    pub transaction_id: Option<String>,
    /// For 405: the methods that there are.
    pub allow: Option<&'static str>,
    /// For 401: the scheme in which to say who one is.
    pub challenge: Option<&'static str>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, title: &'static str) -> Self {
        let retryable = matches!(status.as_u16(), 408 | 429 | 503);
        Self {
            status,
            code,
            title,
            detail: None,
            errors: Vec::new(),
            retryable,
            retry_after: None,
            transaction_id: None,
            allow: None,
            challenge: None,
        }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    pub fn transaction_id(mut self, id: impl Into<String>) -> Self {
        self.transaction_id = Some(id.into());
        self
    }

    pub fn method_not_allowed(allow: &'static str) -> Self {
        let mut problem = Self::of_status(StatusCode::METHOD_NOT_ALLOWED);
        problem.allow = Some(allow);
        problem
    }

    /// The problem of an answer that carries nothing but its status: what the framework says by itself.
    pub fn of_status(status: StatusCode) -> Self {
        let (code, title) = match status {
            StatusCode::BAD_REQUEST => ("bad_request", "The request cannot be read"),
            StatusCode::UNAUTHORIZED => ("unauthorized", "A valid API key is required"),
            StatusCode::FORBIDDEN => ("forbidden", "This key may not do that"),
            StatusCode::NOT_FOUND => ("not_found", "There is nothing under this path"),
            StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "This path does not take that method"),
            StatusCode::REQUEST_TIMEOUT => ("request_timeout", "The request did not arrive in time"),
            StatusCode::PAYLOAD_TOO_LARGE => ("body_too_large", "The body is larger than is taken"),
            StatusCode::URI_TOO_LONG => ("uri_too_long", "The path and its query are longer than is taken"),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                ("headers_too_large", "The headers are more or larger than is taken")
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ("unsupported_media_type", "This content type is not taken"),
            StatusCode::TOO_MANY_REQUESTS => ("rate_limited", "Too many requests"),
            StatusCode::SERVICE_UNAVAILABLE => ("unavailable", "The service cannot answer now"),
            status if status.is_server_error() => ("internal", "Something went wrong on our side"),
            _ => ("bad_request", "The request is not taken"),
        };
        let mut problem = Self::new(status, code, title);
        problem.challenge = (status == StatusCode::UNAUTHORIZED).then_some("Bearer");
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                problem.retry_after(Duration::from_secs(1))
            }
            _ => problem,
        }
    }

    /// The body, as JSON.
    pub fn to_json(&self, request_id: Option<&str>, instance: Option<&str>) -> Vec<u8> {
        #[derive(Serialize)]
        struct Shown<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            code: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            instance: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            request_id: Option<&'a str>,
            retryable: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            transaction_id: Option<&'a str>,
            #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
            errors: &'a [FieldError],
        }
        let shown = Shown {
            r#type: format!("{TYPE_BASE}{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            code: self.code,
            detail: self.detail.as_deref(),
            instance,
            request_id,
            retryable: self.retryable,
            transaction_id: self.transaction_id.as_deref(),
            errors: &self.errors,
        };
        serde_json::to_vec(&shown).expect("a problem is a plain struct of strings and numbers")
    }

    /// The headers that go with it.
    pub(super) fn put_headers(&self, headers: &mut http::HeaderMap) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs_f64().ceil().max(1.0) as u64));
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
    }
}

impl warp::Reply for Problem {
    /// Complete but for what the server adds: it finds the problem itself among the response's extensions.
    fn into_response(self) -> warp::reply::Response {
        let mut response = Response::new(self.to_json(None, None).into());
        *response.status_mut() = self.status;
        self.put_headers(response.headers_mut());
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_all_that_a_program_and_a_person_need() {
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", "Some fields are not valid")
            .errors(vec![FieldError::new("amount", "not_positive", "must be above 0")]);
        let json: serde_json::Value =
            serde_json::from_slice(&problem.to_json(Some("r1"), Some("/v1/deposits"))).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "/docs/problems#invalid_request", "title": "Some fields are not valid", "status": 422,
                "code": "invalid_request", "instance": "/v1/deposits", "request_id": "r1", "retryable": false,
                "errors": [{"field": "amount", "code": "not_positive", "message": "must be above 0"}],
            })
        );
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_as_none() {
        let mut headers = http::HeaderMap::new();
        Problem::of_status(StatusCode::TOO_MANY_REQUESTS)
            .retry_after(Duration::from_millis(20))
            .put_headers(&mut headers);
        assert_eq!(headers[header::RETRY_AFTER], "1");
    }
}
