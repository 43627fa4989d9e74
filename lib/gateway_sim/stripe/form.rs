//! Reading what Stripe's clients send.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use uuid::Uuid;

use super::{Order, amount, fail};
use crate::domain::ids::{Kind, Operation};
use crate::domain::money::{Currency, Money};
use crate::gateway_sim::behaviour::dice;
use crate::gateway_sim::house::House;
use crate::gateway_sim::line::{Call, Reply};
use crate::gateway_sim::vendor::Vendor;

/// Eight digits are as much as Stripe takes (docs.stripe.com/api/payment_intents/create#create_payment_intent-amount).
const LARGEST: i64 = 99_999_999;

/// Parameters that are taken; as with Stripe itself any other is an error.
const TAKEN: [(Kind, &[&str]); 2] = [
    (
        Kind::Deposit,
        &[
            "amount",
            "currency",
            "confirm",
            "payment_method",
            "payment_method_types[]",
            "automatic_payment_methods[enabled]",
            "automatic_payment_methods[allow_redirects]",
            "return_url",
            "description",
            "statement_descriptor",
            "statement_descriptor_suffix",
            "capture_method",
            "receipt_email",
        ],
    ),
    (
        Kind::Withdrawal,
        &["amount", "currency", "destination", "method", "source_type", "description", "statement_descriptor"],
    ),
];

type Fields = BTreeMap<String, String>;

pub fn order(house: &House, call: &Call, kind: Kind) -> Result<Order, Reply> {
    let fields: Fields = Call::pairs(&call.body).into_iter().collect();
    let taken = TAKEN.iter().find(|(of, _)| *of == kind).map_or(&[][..], |(_, taken)| *taken);
    let metadata = |name: &str| name.starts_with("metadata[") && name.ends_with(']');
    if let Some(unknown) = fields.keys().find(|name| !taken.contains(&name.as_str()) && !metadata(name)) {
        return Err(fail::unknown_parameter(unknown));
    }
    let money = money(&fields)?;
    if kind == Kind::Deposit {
        if fields.get("confirm").map(String::as_str) != Some("true") {
            return Err(fail::invalid(
                "parameter_invalid",
                "confirm",
                "Only payment intents that are confirmed at once are simulated.",
            ));
        }
        required(&fields, "payment_method")?;
    }
    // A request without a key is a payment of its own, however often it comes.
    let key = call.header("idempotency-key").map_or_else(|| format!("none_{}", Uuid::now_v7().simple()), str::to_owned);
    if key.len() > 255 {
        return Err(fail::invalid("idempotency_key_too_long", "Idempotency-Key", "Keys have at most 255 characters."));
    }
    let echo: Fields = fields
        .iter()
        .filter_map(|(name, value)| {
            Some((name.strip_prefix("metadata[")?.strip_suffix(']')?.to_owned(), value.clone()))
        })
        .collect();
    let id = |name: &str| echo.get(name).and_then(|text| Uuid::try_parse(text).ok());
    Ok(Order {
        vendor: Vendor::Stripe,
        attempt_id: id("attempt_id").or_else(|| Operation::of_key(&key).map(|(attempt, _)| attempt)),
        transaction_id: id("transaction_id"),
        kind,
        money,
        fingerprint: fingerprint(house, kind, &fields),
        return_url: fields.get("return_url").cloned(),
        cancel_url: None,
        customer_until: None,
        echo,
        arrived_at: call.arrived_at,
        key,
    })
}

/// The account that a payout names.
pub fn destination(call: &Call) -> String {
    let mut fields = Call::pairs(&call.body).into_iter();
    fields.find_map(|(name, value)| (name == "destination").then_some(value)).unwrap_or_default()
}

fn fingerprint(house: &House, kind: Kind, fields: &Fields) -> String {
    let all = serde_urlencoded::to_string(fields).unwrap_or_default();
    dice::digest(house.settings.seed, kind.as_str(), &all)
}

fn required<'a>(fields: &'a Fields, name: &str) -> Result<&'a str, Reply> {
    fields.get(name).map(String::as_str).filter(|value| !value.is_empty()).ok_or_else(|| fail::missing(name))
}

fn money(fields: &Fields) -> Result<Money, Reply> {
    let invalid = |message: &str| fail::invalid("parameter_invalid_integer", "amount", message);
    let text = required(fields, "amount")?;
    let amount: i64 = text.parse().map_err(|_| invalid(&format!("Invalid integer: {text}")))?;
    let code = required(fields, "currency")?;
    let currency: Currency = code
        .to_ascii_uppercase()
        .parse()
        .map_err(|_| fail::invalid("parameter_invalid", "currency", &format!("Invalid currency: {code}")))?;
    match amount {
        ..1 => Err(invalid("This value must be greater than or equal to 1.")),
        1..=LARGEST => amount::read(amount, currency).ok_or_else(|| invalid("Invalid amount for this currency.")),
        _ => Err(fail::invalid("amount_too_large", "amount", "Amount must be no more than 99999999")),
    }
}

/// What part of a list is wanted.
pub struct Window {
    pub limit: usize,
    pub starting_after: Option<String>,
    /// Unix seconds.
    pub created: RangeInclusive<i64>,
}

pub fn window(query: &str) -> Result<Window, Reply> {
    let (mut limit, mut starting_after, mut from, mut to) = (10, None, i64::MIN, i64::MAX);
    for (name, value) in Call::pairs(query.as_bytes()) {
        let number = || {
            let message = format!("Invalid integer: {value}");
            value.parse::<i64>().map_err(|_| fail::invalid("parameter_invalid_integer", &name, &message))
        };
        match name.as_str() {
            "limit" => match number()? {
                wanted @ 1..=100 => limit = usize::try_from(wanted).unwrap_or(10),
                _ => return Err(fail::invalid("parameter_invalid_integer", "limit", "limit is from 1 to 100.")),
            },
            "starting_after" => starting_after = Some(value.clone()),
            "created[gte]" => from = from.max(number()?),
            "created[gt]" => from = from.max(number()?.saturating_add(1)),
            "created[lte]" => to = to.min(number()?),
            "created[lt]" => to = to.min(number()?.saturating_sub(1)),
            _ => return Err(fail::unknown_parameter(&name)),
        }
    }
    Ok(Window { limit, starting_after, created: from..=to })
}
