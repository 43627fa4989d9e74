//! Stripe's errors (docs.stripe.com/api/errors, docs.stripe.com/error-codes).

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::domain::ids::Kind;
use crate::gateway_sim::line::Reply;

fn error(status: StatusCode, kind: &str, code: Option<&str>, param: Option<&str>, message: &str) -> Reply {
    let mut error = Map::new();
    error.insert("type".into(), kind.into());
    error.insert("message".into(), message.into());
    if let Some(code) = code {
        error.insert("code".into(), code.into());
        error
            .insert("doc_url".into(), format!("https://docs.stripe.com/error-codes/{}", code.replace('_', "-")).into());
    }
    if let Some(param) = param {
        error.insert("param".into(), param.into());
    }
    Reply::json(status, &json!({ "error": Value::Object(error) }))
}

pub fn invalid(code: &str, param: &str, message: &str) -> Reply {
    error(StatusCode::BAD_REQUEST, "invalid_request_error", Some(code), Some(param), message)
}

pub fn missing(param: &str) -> Reply {
    invalid("parameter_missing", param, &format!("Missing required param: {param}."))
}

pub fn unknown_parameter(param: &str) -> Reply {
    invalid("parameter_unknown", param, &format!("Received unknown parameter: {param}"))
}

pub fn unauthenticated() -> Reply {
    error(StatusCode::UNAUTHORIZED, "invalid_request_error", None, None, "Invalid API Key provided.")
}

/// Stripe would fall back to the account's version; here every caller says which one it was written for.
pub fn unpinned() -> Reply {
    error(StatusCode::BAD_REQUEST, "invalid_request_error", None, None, "The Stripe-Version header is required.")
}

pub fn no_such(kind: Kind, id: &str) -> Reply {
    let (what, param) = match kind {
        Kind::Deposit => ("payment_intent", "intent"),
        Kind::Withdrawal => ("payout", "payout"),
    };
    let message = format!("No such {what}: '{id}'");
    error(StatusCode::NOT_FOUND, "invalid_request_error", Some("resource_missing"), Some(param), &message)
}

/// The documented refusal of an amount that is made for it. It quotes the account, as Stripe does.
pub fn refused(kind: Kind, destination: &str) -> Reply {
    match kind {
        Kind::Deposit => invalid("amount_too_large", "amount", "This amount is larger than is taken here."),
        Kind::Withdrawal => {
            invalid("resource_missing", "destination", &format!("No such external account: '{destination}'"))
        }
    }
}

pub fn too_many() -> Reply {
    let status = StatusCode::TOO_MANY_REQUESTS;
    error(status, "invalid_request_error", Some("rate_limit"), None, "Request rate limit exceeded.")
        .with("retry-after", "1")
}

pub fn in_progress() -> Reply {
    let message = "There is currently another in-progress request using this Idempotency Key (that probably means you \
                   submitted twice, and the other request is still going through).";
    error(StatusCode::CONFLICT, "idempotency_error", Some("idempotency_key_in_use"), None, message)
}

pub fn key_misused() -> Reply {
    let message = "Keys for idempotent requests can only be used with the same parameters they were first used with.";
    error(StatusCode::BAD_REQUEST, "idempotency_error", None, None, message)
}

pub fn server_error() -> Reply {
    error(StatusCode::INTERNAL_SERVER_ERROR, "api_error", None, None, "An unknown error occurred")
}
