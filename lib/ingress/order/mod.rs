//! A request's body, read into an [`Order`]: syntax first, then every field, so that all that is wrong is told at once.
//!
//! The fields are read from a tree of values, whatever syntax that was written in.

mod destination;
mod fields;
mod syntax;

use std::collections::BTreeMap;

use serde_json::Value;

use super::Surroundings;
use crate::domain::accept::{LARGEST_AMOUNT, Order};
use crate::domain::ids::Kind;
use crate::domain::money::{Currency, Money};
use crate::service::http::FieldError;

pub(super) use syntax::from_json;

use fields::{Fields, is_text};

const LONGEST_URL: usize = 2_048;
const LONGEST_REFERENCE: usize = 255;
const METADATA_ENTRIES: usize = 50;
const METADATA_KEY: usize = 40;
const METADATA_VALUE: usize = 500;

/// Reads the fields of an order.
pub(super) fn read(kind: Kind, tree: Value, surroundings: Surroundings) -> Result<Order, Vec<FieldError>> {
    let mut fields = Fields::of(tree);
    let amount = fields.required("amount", amount);
    let currency = fields.required("currency", currency);
    let country = fields.optional("country", country);
    let pinned_gateway = fields.optional("gateway", gateway);
    let return_url = fields.optional("return_url", |value| return_url(value, surroundings));
    let client_reference = fields.optional("client_reference", client_reference);
    let metadata = fields.optional("metadata", metadata);
    let destination = match kind {
        Kind::Withdrawal => destination::read(&mut fields),
        Kind::Deposit => None,
    };
    fields.done()?;
    // `done` has told every field that is missing.
    let (Some(minor), Some(currency)) = (amount, currency) else { return Err(Vec::new()) };
    Ok(Order {
        kind,
        money: Money::new(minor, currency),
        country,
        pinned_gateway,
        destination,
        return_url,
        client_reference,
        metadata: metadata.unwrap_or_default(),
    })
}

type Wrong = (&'static str, &'static str);

/// Minor units: an integer, or an integer as a string for writers whose numbers are not exact.
fn amount(value: &Value) -> Result<i64, Wrong> {
    let not_an_integer =
        ("not_an_integer", "must be an integer in minor units of the currency, such as 1250 for 12.50 EUR");
    let minor = match value {
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(minor), _) => minor,
            (None, Some(_)) => return Err(too_large()),
            (None, None) => return Err(not_an_integer),
        },
        Value::String(text) if is_digits(text) => text.parse().map_err(|_| too_large())?,
        _ => return Err(not_an_integer),
    };
    match minor {
        ..=0 => Err(("not_positive", "must be above 0")),
        1..=LARGEST_AMOUNT => Ok(minor),
        _ => Err(too_large()),
    }
}

fn too_large() -> Wrong {
    ("too_large", "must be at most 999999999999")
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn currency(value: &Value) -> Result<Currency, Wrong> {
    let known = value.as_str().and_then(|code| code.parse::<Currency>().ok());
    // Units of account such as gold have no minor unit.
    known
        .filter(|currency| currency.exponent().is_some())
        .ok_or(("unknown_currency", "must be an ISO 4217 code such as EUR"))
}

fn country(value: &Value) -> Result<String, Wrong> {
    let code = value.as_str().filter(|code| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase()));
    code.map(str::to_owned).ok_or(("unknown_country", "must be an ISO 3166-1 alpha-2 code such as DE"))
}

fn gateway(value: &Value) -> Result<String, Wrong> {
    let plain = |name: &&str| {
        (1..=32).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    value
        .as_str()
        .filter(plain)
        .map(str::to_owned)
        .ok_or(("unknown_gateway", "must be the name of a gateway, such as stripe"))
}

/// Never fetched by us: the customer's browser is sent there.
fn return_url(value: &Value, surroundings: Surroundings) -> Result<String, Wrong> {
    let wrong = ("not_https", "must be an https:// URL of at most 2048 characters, without a user name");
    let text = value.as_str().filter(|text| text.len() <= LONGEST_URL && is_text(text, LONGEST_URL)).ok_or(wrong)?;
    let url = reqwest::Url::parse(text).map_err(|_| wrong)?;
    let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let allowed = match url.scheme() {
        "https" => url.has_host(),
        "http" => local && surroundings == Surroundings::Development,
        _ => false,
    };
    let bare = url.username().is_empty() && url.password().is_none();
    if allowed && bare { Ok(text.to_owned()) } else { Err(wrong) }
}

fn client_reference(value: &Value) -> Result<String, Wrong> {
    let text = value.as_str().filter(|text| !text.is_empty() && is_text(text, LONGEST_REFERENCE));
    text.map(str::to_owned).ok_or(("not_text", "must be a text of 1 to 255 characters without control characters"))
}

fn metadata(value: &Value) -> Result<BTreeMap<String, String>, Wrong> {
    let entries = value.as_object().ok_or(("not_an_object", "must be an object of texts"))?;
    if entries.len() > METADATA_ENTRIES {
        return Err(("too_many", "must have at most 50 entries"));
    }
    let is_key = |key: &str| {
        (1..=METADATA_KEY).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    };
    let read = |(key, value): (&String, &Value)| {
        if !is_key(key) {
            return Err(("bad_key", "must have keys of 1 to 40 letters, digits, `_`, `-` or `.`"));
        }
        let text = value.as_str().filter(|text| is_text(text, METADATA_VALUE));
        let text = text.ok_or(("bad_value", "must have texts of at most 500 characters as values"))?;
        Ok((key.clone(), text.to_owned()))
    };
    entries.iter().map(read).collect()
}

#[cfg(test)]
mod tests;
