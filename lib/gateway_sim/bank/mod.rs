//! The bank's counter: ISO 20022 messages in SOAP 1.1 envelopes, all posted to one URL.
//!
//! What differs from the others: the message id is the key, and a message that comes again is the same message; nothing is
//! final in the first answer; a status request tells how a message stands.

mod report;
mod soap;
mod webhook;

pub use webhook::{TOLD, callback};

use http::StatusCode;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::charge_log::Closed;
use super::house::{Asked, Denials, Order, Served, Shared};
use super::line::{Call, Conduct, Reply, call, carry_out};
use super::vendor::Vendor;
use crate::domain::ids::Kind;
use soap::{Fault, Message, StatusRequest};

const DENIALS: Denials = Denials { server_error: internal_error, too_many };

pub fn routes(house: &Shared) -> BoxedFilter<(Response,)> {
    let house = house.clone();
    let house = warp::any().map(move || house.clone());
    warp::path!("bank")
        .and(warp::post())
        .and(call())
        .and(house)
        .and_then(|call: Call, house: Shared| async move {
            let conduct = serve(&house, &call).await;
            carry_out(&house, call.line, conduct).await
        })
        .boxed()
}

async fn serve(house: &Shared, call: &Call) -> Result<Conduct, Closed> {
    let bank = &house.settings.bank;
    if !call.knows(&bank.username, bank.password.expose()) {
        let fault = Fault::caller(None, "Authentication failed").reply(StatusCode::UNAUTHORIZED);
        let refused = fault.with("www-authenticate", "Basic realm=\"bank\"");
        return house.dismiss(Vendor::Bank, call.arrived_at, refused).await;
    }
    match soap::read(house, call) {
        Ok(Message::Payment(order)) => place(house, *order).await,
        Ok(Message::StatusRequest(request)) => status(house, call, &request).await,
        Err(fault) => {
            let refused = fault.reply(StatusCode::INTERNAL_SERVER_ERROR);
            house.dismiss(Vendor::Bank, call.arrived_at, refused).await
        }
    }
}

async fn place(house: &Shared, order: Order) -> Result<Conduct, Closed> {
    let (kind, key, end_to_end) = (order.kind, order.key.clone(), order.echo.get(soap::END_TO_END).cloned());
    let failed = StatusCode::INTERNAL_SERVER_ERROR;
    Ok(house.place(order).await?.answered(&DENIALS, |served| match served {
        Served::Executed(payment) | Served::Replayed(payment) => xml(&report::standing(house, &payment)).into(),
        Served::InProgress => xml(&report::received(kind, &key, end_to_end.as_deref().unwrap_or_default())).into(),
        Served::Refused => {
            Fault::caller(Some("AM02"), "Amount is greater than the allowed maximum").reply(failed).into()
        }
        Served::KeyMisused(_) => {
            Fault::caller(Some("DU01"), "Message identification is not unique").reply(failed).into()
        }
        Served::Uncapturable(_) => internal_error().into(),
    }))
}

fn internal_error() -> Reply {
    Fault::bank("Internal error").reply(StatusCode::INTERNAL_SERVER_ERROR)
}

fn too_many() -> Reply {
    Fault::bank("Too many messages").reply(StatusCode::TOO_MANY_REQUESTS).with("retry-after", "1")
}

async fn status(house: &Shared, call: &Call, request: &StatusRequest) -> Result<Conduct, Closed> {
    let asked = Asked::Key(&request.original_message_id);
    let heard = house.ask(Vendor::Bank, asked, call.arrived_at, |_| true).await?;
    Ok(heard.answered(&DENIALS, |payment| match payment {
        Some(payment) => xml(&report::standing(house, &payment)).into(),
        None => xml(&report::never_received(request.kind, &request.original_message_id)).into(),
    }))
}

/// A document in its envelope.
fn xml(document: &str) -> Reply {
    Reply::typed(StatusCode::OK, soap::CONTENT_TYPE, soap::enveloped(document))
}

/// The message that asks for a payment of this kind, and the one that reports on it.
fn names(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Deposit => ("pain.013.001.07", "pain.014.001.07"),
        Kind::Withdrawal => ("pain.001.001.09", "pain.002.001.10"),
    }
}
