//! The PayPal counter: JSON behind an OAuth token (developer.paypal.com/docs/api/orders/v2, …/docs/api/payments.payouts-batch/v1).
//!
//! What differs from the others: a deposit moves money only when it is captured after the customer's approval; a repeated key is
//! answered with how things stand now; a repeated payout batch is refused with a link to the first.

mod access;
mod fail;
mod json;
mod objects;
mod webhook;

pub use webhook::{TOLD, callback};

use std::convert::Infallible;

use http::StatusCode;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::books::{Payment, State};
use super::charge_log::Closed;
use super::house::{Asked, Capture, Denials, Order, Served, Shared, Uncapturable};
use super::line::{Call, Conduct, Reply, call, carry_out};
use super::vendor::Vendor;
use crate::domain::ids::Kind;

const DENIALS: Denials = Denials { server_error: fail::server_error, too_many: fail::too_many };

pub fn routes(house: &Shared) -> BoxedFilter<(Response,)> {
    tokens(house).or(orders(house)).unify().or(payouts(house)).unify().boxed()
}

fn with(house: &Shared) -> impl Filter<Extract = (Shared,), Error = Infallible> + Clone + use<> {
    let house = house.clone();
    warp::any().map(move || house.clone())
}

fn tokens(house: &Shared) -> BoxedFilter<(Response,)> {
    let issue = warp::path!("paypal" / "v1" / "oauth2" / "token").and(warp::post()).and(call()).and(with(house));
    issue
        .and_then(|call: Call, house: Shared| async move {
            let conduct = house.dismiss(Vendor::Paypal, call.arrived_at, access::token(&house, &call)).await;
            carry_out(&house, call.line, conduct).await
        })
        .boxed()
}

fn orders(house: &Shared) -> BoxedFilter<(Response,)> {
    let base = warp::path!("paypal" / "v2" / "checkout" / "orders" / ..);
    let creating = base.and(warp::path::end()).and(warp::post()).and(call()).and(with(house));
    let creating = creating.and_then(|call: Call, house: Shared| async move {
        let conduct = create_order(&house, &call).await;
        carry_out(&house, call.line, conduct).await
    });
    let capturing = base.and(warp::path!(String / "capture")).and(warp::post()).and(call()).and(with(house));
    let capturing = capturing.and_then(|id: String, call: Call, house: Shared| async move {
        let conduct = capture_order(&house, &call, id).await;
        carry_out(&house, call.line, conduct).await
    });
    let showing = base.and(warp::path!(String)).and(warp::get()).and(call()).and(with(house));
    let showing = showing.and_then(|id: String, call: Call, house: Shared| async move {
        let conduct = show(&house, &call, &id, Kind::Deposit).await;
        carry_out(&house, call.line, conduct).await
    });
    creating.or(capturing).unify().or(showing).unify().boxed()
}

fn payouts(house: &Shared) -> BoxedFilter<(Response,)> {
    let base = warp::path!("paypal" / "v1" / "payments" / "payouts" / ..);
    let creating = base.and(warp::path::end()).and(warp::post()).and(call()).and(with(house));
    let creating = creating.and_then(|call: Call, house: Shared| async move {
        let conduct = create_payout(&house, &call).await;
        carry_out(&house, call.line, conduct).await
    });
    let showing = base.and(warp::path!(String)).and(warp::get()).and(call()).and(with(house));
    let showing = showing.and_then(|id: String, call: Call, house: Shared| async move {
        let conduct = show(&house, &call, &id, Kind::Withdrawal).await;
        carry_out(&house, call.line, conduct).await
    });
    creating.or(showing).unify().boxed()
}

async fn create_order(house: &Shared, call: &Call) -> Result<Conduct, Closed> {
    let order = match access::admitted(house, call).and_then(|()| json::order(house, call)) {
        Ok(order) => order,
        Err(refused) => return house.dismiss(Vendor::Paypal, call.arrived_at, refused).await,
    };
    let whole = call.header("prefer").is_some_and(|prefer| prefer.contains("return=representation"));
    let shown = |payment: &Payment| match whole {
        true => objects::order(house, payment),
        false => objects::order_in_short(house, payment),
    };
    Ok(house.place(order).await?.answered(&DENIALS, |served| match served {
        // 200 where the payer's action comes next at once, as PayPal answers orders with a payment source.
        Served::Executed(payment) => {
            let status = if objects::has_source(&payment) { StatusCode::OK } else { StatusCode::CREATED };
            Reply::json(status, &shown(&payment)).into()
        }
        // An order that was not approved in time is forgotten, its key is not.
        Served::Replayed(payment) if payment.state == State::Expired => fail::not_found("order_id").into(),
        Served::Replayed(payment) => Reply::json(StatusCode::OK, &shown(&payment)).into(),
        Served::Refused => fail::refused_order().into(),
        otherwise => unserved(&otherwise),
    }))
}

async fn capture_order(house: &Shared, call: &Call, reference: String) -> Result<Conduct, Closed> {
    let key = match access::admitted(house, call).and_then(|()| json::request_id(call)) {
        Ok(key) => key,
        Err(refused) => return house.dismiss(Vendor::Paypal, call.arrived_at, refused).await,
    };
    let capture = Capture { vendor: Vendor::Paypal, reference, key, arrived_at: call.arrived_at };
    Ok(house.capture(capture).await?.answered(&DENIALS, |served| match served {
        Served::Executed(payment) => Reply::json(StatusCode::CREATED, &objects::order(house, &payment)).into(),
        Served::Replayed(payment) => Reply::json(StatusCode::OK, &objects::order(house, &payment)).into(),
        otherwise => unserved(&otherwise),
    }))
}

async fn create_payout(house: &Shared, call: &Call) -> Result<Conduct, Closed> {
    let order = match access::admitted(house, call).and_then(|()| json::payout(house, call)) {
        Ok(order) => order,
        Err(refused) => return house.dismiss(Vendor::Paypal, call.arrived_at, refused).await,
    };
    Ok(house.place(order).await?.answered(&DENIALS, |served| match served {
        Served::Executed(payment) => Reply::json(StatusCode::CREATED, &objects::batch_in_short(house, &payment)).into(),
        // PayPal says the same whatever else the repeated batch holds.
        Served::Replayed(payment) | Served::KeyMisused(payment) => {
            fail::duplicate_batch(&objects::batch_url(house, &payment)).into()
        }
        Served::Refused => fail::refused_payout().into(),
        otherwise => unserved(&otherwise),
    }))
}

/// What is answered when nothing was done that could be shown.
fn unserved(served: &Served) -> Conduct {
    match served {
        Served::InProgress => fail::in_progress().into(),
        Served::KeyMisused(_) => fail::key_misused().into(),
        Served::Uncapturable(Uncapturable::NotFound) => fail::not_found("order_id").into(),
        Served::Uncapturable(Uncapturable::NotApproved) => fail::not_approved().into(),
        Served::Uncapturable(Uncapturable::AlreadyCaptured) => fail::already_captured().into(),
        Served::Executed(_) | Served::Replayed(_) | Served::Refused => fail::server_error().into(),
    }
}

async fn show(house: &Shared, call: &Call, id: &str, kind: Kind) -> Result<Conduct, Closed> {
    if let Err(refused) = access::admitted(house, call) {
        return house.dismiss(Vendor::Paypal, call.arrived_at, refused).await;
    }
    let visible = |payment: &Payment| payment.state != State::Expired;
    let heard = house.ask(Vendor::Paypal, Asked::Reference(id), call.arrived_at, visible).await?;
    Ok(heard.answered(&DENIALS, |payment| match payment.filter(|payment| payment.kind == kind) {
        Some(payment) if kind == Kind::Deposit => Reply::json(StatusCode::OK, &objects::order(house, &payment)).into(),
        Some(payment) => Reply::json(StatusCode::OK, &objects::batch(house, &payment)).into(),
        None if kind == Kind::Deposit => fail::not_found("order_id").into(),
        None => fail::not_found("payout_batch_id").into(),
    }))
}
