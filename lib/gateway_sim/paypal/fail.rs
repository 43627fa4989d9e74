//! PayPal's errors (developer.paypal.com/api/rest/responses, …/docs/api/orders/v2#errors, …/docs/api/payments.payouts-batch/v1#errors).

use http::StatusCode;
use serde_json::{Value, json};

use crate::gateway_sim::line::Reply;

const DEBUG_ID: &str = "f00dfacecafe0";

fn error(status: StatusCode, name: &str, message: &str, details: Value) -> Reply {
    let link = format!("https://developer.paypal.com/docs/api/orders/v2/#error-{name}");
    let links = json!([{ "href": link, "rel": "information_link", "method": "GET" }]);
    let body = json!({ "name": name, "message": message, "debug_id": DEBUG_ID, "details": details, "links": links });
    Reply::json(status, &body).with("paypal-debug-id", DEBUG_ID)
}

fn payout_error(status: StatusCode, name: &str, message: &str, details: Value) -> Reply {
    let link = format!("https://developer.paypal.com/docs/api/payments.payouts-batch/v1/#error-{name}");
    let body = json!({
        "name": name, "message": message, "debug_id": DEBUG_ID, "information_link": link, "details": details, "links": [],
    });
    Reply::json(status, &body).with("paypal-debug-id", DEBUG_ID)
}

fn unprocessable(issue: &str, description: &str) -> Reply {
    let message = "The requested action could not be performed, semantically incorrect, or failed business validation.";
    let details = json!([{ "issue": issue, "description": description }]);
    error(StatusCode::UNPROCESSABLE_ENTITY, "UNPROCESSABLE_ENTITY", message, details)
}

pub fn invalid(field: &str, issue: &str, description: &str) -> Reply {
    let message = "Request is not well-formed, syntactically incorrect, or violates schema.";
    let details = json!([{ "field": field, "location": "body", "issue": issue, "description": description }]);
    error(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message, details)
}

pub fn no_request_id() -> Reply {
    let message = "Request is not well-formed, syntactically incorrect, or violates schema.";
    let description = "A PayPal-Request-Id is required if you are trying to process payment for an Order.";
    let details = json!([{
        "field": "PayPal-Request-Id", "location": "header", "issue": "PAYPAL_REQUEST_ID_REQUIRED", "description": description,
    }]);
    error(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message, details)
}

pub fn invalid_payout(field: &str, issue: &str) -> Reply {
    let details = json!([{ "field": field, "location": "body", "issue": issue }]);
    payout_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", "Invalid request - see details.", details)
}

pub fn unsupported_currency(code: &str) -> Reply {
    unprocessable("CURRENCY_NOT_SUPPORTED", &format!("The currency {code} is not supported."))
}

/// The documented refusal of an amount that is made for it.
pub fn refused_order() -> Reply {
    unprocessable("PAYEE_ACCOUNT_RESTRICTED", "The merchant account is restricted.")
}

pub fn refused_payout() -> Reply {
    invalid_payout("items[0].receiver", "Receiver is invalid")
}

pub fn not_approved() -> Reply {
    unprocessable("ORDER_NOT_APPROVED", "Payer has not yet approved the Order for payment.")
}

pub fn already_captured() -> Reply {
    let description = "Order already captured. If 'intent=CAPTURE' only one capture per order is allowed.";
    unprocessable("ORDER_ALREADY_CAPTURED", description)
}

pub fn key_misused() -> Reply {
    let description =
        "The value of PayPal-Request-Id header has already been used. Please specify a different value and try again.";
    unprocessable("DUPLICATE_REQUEST_ID", description)
}

pub fn in_progress() -> Reply {
    let description =
        "A previous request on this resource is currently in progress. Please wait for some time and try again.";
    let details = json!([{ "issue": "PREVIOUS_REQUEST_IN_PROGRESS", "description": description }]);
    let message = "The server has detected a conflict while processing this request.";
    error(StatusCode::CONFLICT, "RESOURCE_CONFLICT", message, details)
}

pub fn duplicate_batch(url: &str) -> Reply {
    let details = json!([{
        "field": "SENDER_BATCH_ID",
        "location": "body",
        "issue": "Batch with given sender_batch_id already exists",
        "link": [{ "href": url, "rel": "self", "method": "GET" }],
    }]);
    payout_error(StatusCode::BAD_REQUEST, "USER_BUSINESS_ERROR", "User business error.", details)
}

pub fn not_found(field: &str) -> Reply {
    let description = "Specified resource ID does not exist. Please check the resource ID and try again.";
    let details =
        json!([{ "field": field, "location": "path", "issue": "INVALID_RESOURCE_ID", "description": description }]);
    error(StatusCode::NOT_FOUND, "RESOURCE_NOT_FOUND", "The specified resource does not exist.", details)
}

pub fn too_many() -> Reply {
    let message = "Too many requests. Blocked due to rate limiting.";
    error(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_REACHED", message, json!([])).with("retry-after", "1")
}

pub fn server_error() -> Reply {
    let message = "An internal server error has occurred.";
    error(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_SERVER_ERROR", message, json!([]))
}
