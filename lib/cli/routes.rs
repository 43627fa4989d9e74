//! Which gateways a fresh installation sends payments to.

use crate::domain::route::Route;

/// The gateways that have adapters.
pub const GATEWAYS: [&str; 3] = ["stripe", "paypal", "bank"];

/// (country, currency) and its gateways in the order in which they are tried; the last line is for everything else.
const ROUTES: [(Option<&str>, Option<&str>, &[&str]); 5] = [
    (Some("DE"), Some("EUR"), &["stripe", "paypal", "bank"]),
    (Some("US"), Some("USD"), &["stripe", "paypal", "bank"]),
    (Some("JP"), Some("JPY"), &["stripe", "bank"]),
    (Some("NG"), Some("NGN"), &["bank"]),
    (None, None, &["bank"]),
];

pub fn routes() -> Vec<Route> {
    let route = |(country, currency, gateways): (Option<&str>, Option<&str>, &'static [&'static str])| {
        let (country, currency) = (country.map(str::to_owned), currency.map(str::to_owned));
        gateways.iter().zip(1..).map(move |(gateway, priority)| Route {
            country: country.clone(),
            currency: currency.clone(),
            priority,
            gateway: (*gateway).to_owned(),
        })
    };
    ROUTES.into_iter().flat_map(route).collect()
}
