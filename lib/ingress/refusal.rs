//! The problems that the ingress tells, each in one place.

use std::time::Duration;

use http::StatusCode;

use crate::domain::ids::PublicId;
use crate::postgres::combiner::Refused;
use crate::service::http::{FieldError, Problem};
use crate::service::shares::NoPlace;

const SOON: Duration = Duration::from_secs(1);

pub(super) fn unauthorized() -> Problem {
    Problem::of_status(StatusCode::UNAUTHORIZED)
        .detail("Send `Authorization: Bearer` with an API key that was not revoked.")
}

pub(super) fn rate_limited(retry: Duration) -> Problem {
    Problem::of_status(StatusCode::TOO_MANY_REQUESTS)
        .detail("Slow down; `Retry-After` says for how long.")
        .retry_after(retry)
}

/// No room for more of this kind of request.
pub(super) fn overloaded() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too many requests are under way")
        .detail("Nothing was done. Repeat the request a little later.")
        .retry_after(SOON)
}

/// No place to wait for a change.
pub(super) fn nowhere_to_wait(why: NoPlace) -> Problem {
    match why {
        NoPlace::Room => overloaded(),
        NoPlace::Share => {
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_waiting", "Too many requests of this key wait")
                .detail("Ask without `wait`, or a little later.")
                .retry_after(SOON)
        }
    }
}

/// Nothing was committed.
pub(super) fn unavailable() -> Problem {
    Problem::of_status(StatusCode::SERVICE_UNAVAILABLE).detail(
        "Nothing was done. Repeat the request a little later; with the same Idempotency-Key that is always safe.",
    )
}

pub(super) fn outcome_unknown() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "outcome_unknown", "It is not known whether the payment was accepted")
        .detail("Repeat the request with the same Idempotency-Key: it is accepted once, and you get the answer.")
        .retry_after(SOON)
}

pub(super) fn internal() -> Problem {
    Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) fn not_committed(refused: &Refused) -> Problem {
    match refused {
        Refused::Full => overloaded(),
        Refused::Unavailable => unavailable(),
        Refused::OutcomeUnknown => outcome_unknown(),
        Refused::Failed(_) => internal(),
    }
}

/// A statement of the pool failed.
pub(super) fn not_read(error: &sqlx::Error) -> Problem {
    tracing::warn!(%error, "PostgreSQL did not answer a read");
    unavailable()
}

/// The payment may be at a gateway, or has ended otherwise.
pub(super) fn not_cancellable(id: PublicId) -> Problem {
    Problem::new(StatusCode::CONFLICT, "not_cancellable", "The payment can no longer be cancelled")
        .detail("It may have been sent to a gateway, or has ended. Read it to see where it stands.")
        .transaction_id(id.to_string())
}

/// Whether it is cancelled is not known, or it is not.
pub(super) fn not_cancelled() -> Problem {
    Problem::of_status(StatusCode::SERVICE_UNAVAILABLE)
        .detail("It is not known whether the payment was cancelled. Ask again a little later: cancelling twice is harmless.")
        .retry_after(SOON)
}

pub(super) fn no_such_payment() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "transaction_not_found", "There is no such transaction")
}

pub(super) fn key_missing() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "idempotency_key_missing", "An Idempotency-Key is required")
        .detail("Send a header `Idempotency-Key` of 1 to 255 visible ASCII characters, a new one for each payment.")
}

pub(super) fn key_invalid() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "idempotency_key_invalid", "The Idempotency-Key cannot be used")
        .detail("It is one header of 1 to 255 visible ASCII characters, in double quotes or not.")
}

/// `first` is the payment that the key belongs to.
pub(super) fn key_reused(first: PublicId) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency_key_reused",
        "The Idempotency-Key belongs to another request",
    )
    .detail("A different payment was accepted under this key. Use a new key for each payment.")
    .transaction_id(first.to_string())
}

pub(super) fn key_busy() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "idempotency_key_in_use",
        "A request with this Idempotency-Key is still under way",
    )
    .detail("Repeat the request a little later to get its answer.")
    .retryable()
    .retry_after(SOON)
}

pub(super) fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed_body", "The body cannot be read").detail(detail)
}

pub(super) fn wrong_type() -> Problem {
    Problem::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE).detail("Send the body as `Content-Type: application/json`.")
}

pub(super) fn invalid(errors: Vec<FieldError>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", "Some fields are not valid").errors(errors)
}

pub(super) fn invalid_query(error: FieldError) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_query", "A parameter of the query is not valid").errors(vec![error])
}

pub(super) fn insufficient_funds() -> Problem {
    Problem::new(StatusCode::PAYMENT_REQUIRED, "insufficient_funds", "The account has too little for this withdrawal")
        .detail("Nothing was stored under the Idempotency-Key: it may be used again.")
}

pub(super) fn currency_not_enabled(currency: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "currency_not_enabled", "You have no account in this currency")
        .errors(vec![FieldError::new("currency", "currency_not_enabled", format!("no account in {currency}"))])
}

pub(super) fn no_route() -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no_route", "No gateway carries this payment")
        .detail("No gateway takes this combination of country, currency, gateway and kind of destination.")
}
