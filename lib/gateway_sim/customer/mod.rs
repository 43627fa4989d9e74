//! The page that stands for a gateway's redirect: a customer sees what they are asked to pay, and approves or cancels.
//! Plain HTML forms; nothing needs JavaScript.

mod page;

use http::{HeaderValue, StatusCode, header};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::books::{Payment, State};
use super::charge_log::Closed;
use super::house::{Decision, House, Shared};
use super::line::{Conduct, Reply};
use super::line::{Line, carry_out};
use super::vendor::Vendor;
use crate::domain::ids::Kind;

/// Where the customer of a payment is sent.
pub fn url_of(house: &House, payment: &Payment) -> String {
    format!("{}/customer/{}/{}", house.public_url, payment.vendor, payment.reference)
}

pub fn routes(house: &Shared) -> BoxedFilter<(Response,)> {
    let with = house.clone();
    let house = warp::any().map(move || with.clone());
    let front = warp::path::end()
        .and(warp::get())
        .and(house.clone())
        .map(|house: Shared| html(StatusCode::OK, page::front(&house)));
    let show = warp::path!("customer" / Vendor / String).and(warp::get()).and(house.clone()).map(
        |vendor, reference: String, house: Shared| {
            let payment = house.books().by_reference(vendor, &reference).cloned();
            match payment.filter(|payment| payment.kind == Kind::Deposit) {
                Some(payment) => html(StatusCode::OK, page::payment(&house, &payment)),
                None => html(StatusCode::NOT_FOUND, page::unknown()),
            }
        },
    );
    let decide = warp::path!("customer" / Vendor / String / String)
        .and(warp::post())
        .and(warp::ext::get::<Line>())
        .and(house)
        .and_then(|vendor, reference: String, word: String, line, house: Shared| async move {
            let conduct = decide(&house, vendor, &reference, &word).await;
            carry_out(&house, line, conduct).await
        });
    front.or(show).unify().or(decide).unify().boxed()
}

async fn decide(house: &Shared, vendor: Vendor, reference: &str, word: &str) -> Result<Conduct, Closed> {
    let decision = match word {
        "approve" => Decision::Approve,
        "cancel" => Decision::Cancel,
        _ => return Ok(Reply::typed(StatusCode::NOT_FOUND, HTML, page::unknown()).into()),
    };
    let Some(payment) = house.decide(vendor, reference, decision).await? else {
        return Ok(Reply::typed(StatusCode::NOT_FOUND, HTML, page::unknown()).into());
    };
    let back = back_to(&payment).unwrap_or_else(|| url_of(house, &payment));
    Ok(Reply::typed(StatusCode::SEE_OTHER, HTML, String::new()).with("location", back).into())
}

/// The caller's page for the customer's return, with what the vendor adds to it.
fn back_to(payment: &Payment) -> Option<String> {
    let agreed = matches!(payment.state, State::Approved | State::Capturing | State::Pending | State::Succeeded);
    let (page, added) = match payment.vendor {
        Vendor::Stripe => {
            let word = if agreed { "succeeded" } else { "failed" };
            (&payment.return_url, format!("payment_intent={}&redirect_status={word}", payment.reference))
        }
        Vendor::Paypal if agreed => {
            (&payment.return_url, format!("token={}&PayerID=SIMULATEDPAYER", payment.reference))
        }
        Vendor::Paypal => (&payment.cancel_url, format!("token={}", payment.reference)),
        Vendor::Bank => return None,
    };
    let page = page.as_deref().filter(|url| url.starts_with("https://") || url.starts_with("http://"))?;
    let (before, fragment) =
        page.split_once('#').map_or((page, String::new()), |(before, after)| (before, format!("#{after}")));
    let joint = if before.contains('?') { '&' } else { '?' };
    Some(format!("{before}{joint}{added}{fragment}"))
}

const HTML: &str = "text/html; charset=utf-8";

fn html(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(HTML));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
        ),
    );
    response
}
