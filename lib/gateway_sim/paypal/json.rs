//! Reading what PayPal's clients send.

use std::collections::BTreeMap;

use serde::Deserialize;
use uuid::Uuid;

use super::{Order, fail};
use crate::domain::ids::{Kind, Operation};
use crate::domain::money::{Currency, Money};
use crate::gateway_sim::behaviour::dice;
use crate::gateway_sim::house::House;
use crate::gateway_sim::line::{Call, Reply};
use crate::gateway_sim::vendor::Vendor;

/// Currencies that PayPal takes (developer.paypal.com/api/rest/reference/currency-codes).
const CURRENCIES: [&str; 24] = [
    "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "ILS", "JPY", "MXN", "MYR", "NOK",
    "NZD", "PHP", "PLN", "SEK", "SGD", "THB", "TWD", "USD",
];

/// Amounts are sent as `currency_code` by orders, as `currency` by payouts.
#[derive(Deserialize)]
struct Amount {
    #[serde(alias = "currency")]
    currency_code: String,
    value: String,
}

#[derive(Deserialize)]
struct NewOrder {
    intent: String,
    purchase_units: Vec<PurchaseUnit>,
    payment_source: Option<PaymentSource>,
    application_context: Option<Context>,
}

#[derive(Deserialize)]
struct PurchaseUnit {
    reference_id: Option<String>,
    custom_id: Option<String>,
    invoice_id: Option<String>,
    amount: Amount,
}

#[derive(Deserialize)]
struct PaymentSource {
    paypal: Option<Wallet>,
}

#[derive(Deserialize)]
struct Wallet {
    experience_context: Option<Context>,
}

#[derive(Deserialize)]
struct Context {
    return_url: Option<String>,
    cancel_url: Option<String>,
}

#[derive(Deserialize)]
struct NewBatch {
    sender_batch_header: BatchHeader,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct BatchHeader {
    sender_batch_id: String,
}

#[derive(Deserialize)]
struct Item {
    amount: Amount,
    receiver: String,
    sender_item_id: Option<String>,
}

/// The key of an order or a capture.
pub fn request_id(call: &Call) -> Result<String, Reply> {
    let given = call.header("paypal-request-id").filter(|key| (1..=108).contains(&key.len()));
    given.map(str::to_owned).ok_or_else(fail::no_request_id)
}

pub fn order(house: &House, call: &Call) -> Result<Order, Reply> {
    let key = request_id(call)?;
    let unreadable = |error: serde_json::Error| fail::invalid("/", "MALFORMED_REQUEST_JSON", &error.to_string());
    let new: NewOrder = serde_json::from_slice(&call.body).map_err(unreadable)?;
    if new.intent != "CAPTURE" {
        return Err(fail::invalid("/intent", "INVALID_PARAMETER_VALUE", "Only the intent CAPTURE is simulated."));
    }
    let [unit] = <[PurchaseUnit; 1]>::try_from(new.purchase_units).map_err(|_| {
        fail::invalid("/purchase_units", "INVALID_ARRAY_LENGTH", "Orders of exactly one purchase unit are simulated.")
    })?;
    let invalid = |issue: &str| fail::invalid("/purchase_units/0/amount/value", issue, "The amount is not valid.");
    let money = money(&unit.amount).map_err(|bad| bad.told(invalid))?;
    let source = new.payment_source.and_then(|source| source.paypal);
    let mut echo = BTreeMap::new();
    for (name, value) in
        [("custom_id", &unit.custom_id), ("invoice_id", &unit.invoice_id), ("reference_id", &unit.reference_id)]
    {
        if let Some(value) = value {
            echo.insert(name.to_owned(), value.clone());
        }
    }
    if source.is_some() {
        echo.insert("payment_source".to_owned(), "paypal".to_owned());
    }
    let context = source.and_then(|wallet| wallet.experience_context).or(new.application_context);
    let (return_url, cancel_url) = context.map_or((None, None), |context| (context.return_url, context.cancel_url));
    let attempt_id = unit.custom_id.as_deref().and_then(|text| Uuid::try_parse(text).ok());
    Ok(Order {
        vendor: Vendor::Paypal,
        attempt_id: attempt_id.or_else(|| Operation::of_key(&key).map(|(attempt, _)| attempt)),
        transaction_id: unit.invoice_id.as_deref().and_then(|text| Uuid::try_parse(text).ok()),
        kind: Kind::Deposit,
        money,
        fingerprint: fingerprint(house, "order", &call.body),
        return_url,
        cancel_url,
        customer_until: None,
        echo,
        arrived_at: call.arrived_at,
        key,
    })
}

pub fn payout(house: &House, call: &Call) -> Result<Order, Reply> {
    let new: NewBatch = serde_json::from_slice(&call.body)
        .map_err(|error| fail::invalid_payout("items", &format!("Request body cannot be read: {error}")))?;
    let key = new.sender_batch_header.sender_batch_id;
    if !(1..=256).contains(&key.len()) {
        return Err(fail::invalid_payout("sender_batch_header.sender_batch_id", "Required field is missing"));
    }
    let [item] = <[Item; 1]>::try_from(new.items)
        .map_err(|_| fail::invalid_payout("items", "Batches of exactly one item are simulated"))?;
    if !item.receiver.contains('@') {
        return Err(fail::invalid_payout("items[0].receiver", "Receiver is invalid"));
    }
    let money = money(&item.amount)
        .map_err(|bad| bad.told(|_| fail::invalid_payout("items[0].amount", "Amount is invalid")))?;
    let echo = item.sender_item_id.map(|id| ("sender_item_id".to_owned(), id)).into_iter().collect();
    Ok(Order {
        vendor: Vendor::Paypal,
        attempt_id: Operation::of_key(&key).map(|(attempt, _)| attempt),
        transaction_id: None,
        kind: Kind::Withdrawal,
        money,
        fingerprint: fingerprint(house, "payout", &call.body),
        return_url: None,
        cancel_url: None,
        customer_until: None,
        echo,
        arrived_at: call.arrived_at,
        key,
    })
}

/// JSON that says the same has the same fingerprint, whatever the order of its members.
fn fingerprint(house: &House, what: &str, body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    dice::digest(house.settings.seed, what, &value.to_string())
}

enum BadAmount {
    Currency(String),
    Value,
}

impl BadAmount {
    fn told(self, value: impl FnOnce(&str) -> Reply) -> Reply {
        match self {
            Self::Currency(code) => fail::unsupported_currency(&code),
            Self::Value => value("INVALID_PARAMETER_VALUE"),
        }
    }
}

fn money(amount: &Amount) -> Result<Money, BadAmount> {
    let unsupported = || BadAmount::Currency(amount.currency_code.clone());
    let currency: Currency = amount.currency_code.parse().map_err(|_| unsupported())?;
    if !CURRENCIES.contains(&currency.code()) {
        return Err(unsupported());
    }
    let money = Money::from_decimal(&amount.value, currency).map_err(|_| BadAmount::Value)?;
    if money.minor > 0 { Ok(money) } else { Err(BadAmount::Value) }
}
