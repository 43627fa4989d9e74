//! `POST /v1/transactions/{id}/cancel`: 200 with the payment, or 409 once it may have been sent.
//!
//! If it dies here: the payment is cancelled or it is not; asking again tells, and changes nothing more.

use std::sync::Arc;

use warp::reply::Response;

use super::accept::Told;
use super::door::{Asking, Passed};
use super::routes::Request;
use super::{Ingress, read, refusal, represent};
use crate::domain::ids::PublicId;
use crate::service::http::Problem;
use crate::settlement::Cancelled;
use crate::transactions::resource;

pub(super) async fn handle(ingress: &Arc<Ingress>, id: &str, request: &Request) -> Told {
    let asking = Asking { headers: &request.headers, peer: request.peer, ordering: None };
    match ingress.door.pass(asking).await {
        Ok(passed) => (cancel(ingress, id, &passed).await, passed.limit),
        Err((problem, limit)) => (Err(problem), limit),
    }
}

async fn cancel(ingress: &Arc<Ingress>, id: &str, passed: &Passed) -> Result<Response, Problem> {
    let id: PublicId = id.parse().map_err(|_| refusal::no_such_payment())?;
    let _room = ingress.accepting.try_acquire().map_err(|_| refusal::overloaded())?;
    // Another user's payment is not there, to whoever asks; and no payment ever changes its owner.
    let standing = ingress.read(resource::standing(&ingress.pool, id, passed.credential.user_id)).await?;
    standing.ok_or_else(refusal::no_such_payment)?;
    // In a task of its own: a client that hangs up stops no commit.
    let settlement = ingress.settlement.clone();
    let cancelling = ingress.tracker.spawn(async move { settlement.cancel(id.id).await });
    let cancelled = match cancelling.await {
        Ok(Ok(cancelled)) => cancelled,
        Ok(Err(error)) => {
            tracing::warn!(transaction = %id, %error, "a payment could not be cancelled");
            return Err(refusal::not_cancelled());
        }
        Err(panicked) => {
            tracing::error!(transaction = %id, error = %panicked, "cancelling a payment ended without a word");
            return Err(refusal::internal());
        }
    };
    let outcome = match cancelled {
        Cancelled::Now => "cancelled",
        Cancelled::Before => "before",
        Cancelled::TooLate => "too_late",
    };
    metrics::counter!("payfleet_ingress_cancels_total", "outcome" => outcome).increment(1);
    if cancelled == Cancelled::TooLate {
        return Err(refusal::not_cancellable(id));
    }
    let resource = read::load(ingress, id, passed).await?;
    Ok(read::json(represent::payment(&resource)))
}
