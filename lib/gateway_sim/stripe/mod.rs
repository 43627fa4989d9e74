//! The Stripe counter: form-encoded requests in, JSON out (docs.stripe.com/api).
//!
//! What differs from the others: the answer of a key is kept and given again as it was, server errors included; a payment that is
//! not found is looked for in a list.

mod amount;
mod fail;
mod form;
mod objects;
mod webhook;

pub use webhook::{TOLD, callback};

use http::StatusCode;
use serde_json::{Value, json};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::books::Payment;
use super::charge_log::Closed;
use super::house::{Asked, Denials, House, Order, Served, Shared};
use super::lies::Lie;
use super::line::{Call, Conduct, Reply, call, carry_out};
use super::vendor::Vendor;
use crate::domain::ids::Kind;

/// The version that events are rendered in.
const API_VERSION: &str = "2026-02-25.clover";

const DENIALS: Denials = Denials { server_error: fail::server_error, too_many: fail::too_many };

pub fn routes(house: &Shared) -> BoxedFilter<(Response,)> {
    resource(house, "payment_intents", Kind::Deposit).or(resource(house, "payouts", Kind::Withdrawal)).unify().boxed()
}

/// Create, list and retrieve.
fn resource(house: &Shared, name: &'static str, kind: Kind) -> BoxedFilter<(Response,)> {
    let house = house.clone();
    let house = warp::any().map(move || house.clone());
    let base = warp::path!("stripe" / "v1" / ..).and(warp::path(name));
    let created = base.and(warp::path::end()).and(warp::post()).and(call()).and(house.clone()).and_then(
        move |call: Call, house: Shared| async move {
            let conduct = create(&house, &call, kind).await;
            carry_out(&house, call.line, conduct).await
        },
    );
    let listed = base.and(warp::path::end()).and(warp::get()).and(call()).and(house.clone()).and_then(
        move |call: Call, house: Shared| async move {
            let conduct = list(&house, &call, name, kind).await;
            carry_out(&house, call.line, conduct).await
        },
    );
    let one = base.and(warp::path::param()).and(warp::path::end()).and(warp::get());
    let retrieved = one.and(call()).and(house).and_then(move |id: String, call: Call, house: Shared| async move {
        let conduct = retrieve(&house, &call, &id, kind).await;
        carry_out(&house, call.line, conduct).await
    });
    created.or(listed).unify().or(retrieved).unify().boxed()
}

/// The secret key, as bearer or as the name of Basic authentication, and a pinned version.
fn admitted(house: &House, call: &Call) -> Result<(), Reply> {
    let key = house.settings.stripe.secret_key.expose();
    if !call.bears(key) && !call.knows(key, "") {
        return Err(fail::unauthenticated());
    }
    if call.header("stripe-version").is_none_or(str::is_empty) {
        return Err(fail::unpinned());
    }
    Ok(())
}

async fn create(house: &Shared, call: &Call, kind: Kind) -> Result<Conduct, Closed> {
    let order = match admitted(house, call).and_then(|()| form::order(house, call, kind)) {
        Ok(order) => order,
        Err(refused) => return house.dismiss(Vendor::Stripe, call.arrived_at, refused).await,
    };
    let key = order.key.clone();
    let conduct = house.place(order).await?.answered(&DENIALS, |served| match served {
        Served::Executed(payment) => first_answer(house, &payment).into(),
        Served::Replayed(payment) => again(house, &payment).with("idempotent-replayed", "true").into(),
        Served::Refused => fail::refused(kind, &form::destination(call)).into(),
        Served::InProgress => fail::in_progress().into(),
        Served::KeyMisused(_) => fail::key_misused().into(),
        Served::Uncapturable(_) => fail::server_error().into(),
    });
    Ok(conduct.with("idempotency-key", key))
}

/// What the first request of the key was told.
fn first_answer(house: &House, payment: &Payment) -> Reply {
    let opened = payment.as_opened();
    match objects::declined(house, &opened) {
        Some(error) => Reply::json(StatusCode::PAYMENT_REQUIRED, &json!({ "error": error })),
        None => Reply::json(StatusCode::OK, &objects::object(house, &opened)),
    }
}

/// The kept answer. One that was lost on its way was a success all the same.
fn again(house: &House, payment: &Payment) -> Reply {
    if house.plan(payment).lie == Some(Lie::FailedAfter) { fail::server_error() } else { first_answer(house, payment) }
}

async fn retrieve(house: &Shared, call: &Call, id: &str, kind: Kind) -> Result<Conduct, Closed> {
    if let Err(refused) = admitted(house, call) {
        return house.dismiss(Vendor::Stripe, call.arrived_at, refused).await;
    }
    let heard = house.ask(Vendor::Stripe, Asked::Reference(id), call.arrived_at, |_| true).await?;
    Ok(heard.answered(&DENIALS, |payment| match payment.filter(|payment| payment.kind == kind) {
        Some(payment) => Reply::json(StatusCode::OK, &objects::object(house, &payment)).into(),
        None => fail::no_such(kind, id).into(),
    }))
}

async fn list(house: &Shared, call: &Call, name: &str, kind: Kind) -> Result<Conduct, Closed> {
    let window = match admitted(house, call).and_then(|()| form::window(&call.query)) {
        Ok(window) => window,
        Err(refused) => return house.dismiss(Vendor::Stripe, call.arrived_at, refused).await,
    };
    let about = format!("{name}?{}", call.query);
    let page = house.list(Vendor::Stripe, &about, call.arrived_at, |books| {
        let after = window.starting_after.as_deref();
        after.is_none_or(|id| books.by_reference(Vendor::Stripe, id).is_some()).then_some(())?;
        let mut within = books.newest_first(Vendor::Stripe, kind, window.created.clone(), after);
        let data: Vec<Payment> = within.by_ref().take(window.limit).cloned().collect();
        Some((data, within.next().is_some()))
    });
    Ok(page.await?.answered(&DENIALS, |page| {
        let Some((payments, has_more)) = page else {
            return fail::no_such(kind, window.starting_after.as_deref().unwrap_or_default()).into();
        };
        let data: Vec<Value> = payments.iter().map(|payment| objects::object(house, payment)).collect();
        let body = json!({ "object": "list", "data": data, "has_more": has_more, "url": format!("/v1/{name}") });
        Reply::json(StatusCode::OK, &body).into()
    }))
}
