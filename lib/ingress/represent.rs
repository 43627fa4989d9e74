//! What clients read: payments and balances as JSON.

use serde::Serialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::accounts::Balance;
use crate::domain::transaction::Substatus;
use crate::transactions::resource::Resource;

pub(super) const JSON: &str = "application/json";

#[derive(Serialize)]
struct Shown<'a> {
    id: String,
    r#type: &'a str,
    status: &'a str,
    substatus: Option<&'a str>,
    status_reason: Option<Reason<'a>>,
    amount: i64,
    currency: &'a str,
    gateway: &'a str,
    attempts: i16,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<Destination<'a>>,
    next_action: Option<NextAction<'a>>,
    next_check_at: Option<String>,
    client_reference: Option<&'a str>,
    metadata: Option<&'a RawValue>,
    version: i64,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize)]
struct Reason<'a> {
    code: &'a str,
    message: &'a str,
    gateway_code: Option<&'a str>,
}

#[derive(Serialize)]
struct Destination<'a> {
    kind: &'a str,
    last4: &'a str,
}

#[derive(Serialize)]
struct NextAction<'a> {
    redirect_url: &'a str,
    expires_at: Option<String>,
}

/// RFC 3339 in UTC, always with microseconds: the same moment is always written in the same bytes.
fn moment(at: OffsetDateTime) -> String {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    at.to_offset(time::UtcOffset::UTC).format(form).unwrap_or_default()
}

pub(super) fn payment(resource: &Resource) -> Vec<u8> {
    let (status, usual) = resource.status.public();
    let empty = RawValue::from_string("{}".to_owned()).ok();
    let written = resource.metadata.clone().and_then(|metadata| RawValue::from_string(metadata).ok());
    let shown = Shown {
        id: resource.id.to_string(),
        r#type: resource.id.kind.as_str(),
        status,
        substatus: resource.substatus.map(Substatus::as_str).or(usual),
        status_reason: resource.reason.as_ref().map(|reason| Reason {
            code: &reason.code,
            message: &reason.message,
            gateway_code: reason.gateway_code.as_deref(),
        }),
        amount: resource.amount,
        currency: &resource.currency,
        gateway: &resource.gateway,
        attempts: resource.attempts,
        destination: resource.destination.as_ref().map(|(kind, last4)| Destination { kind: kind.as_str(), last4 }),
        next_action: resource
            .next_action
            .as_ref()
            .map(|action| NextAction { redirect_url: &action.redirect_url, expires_at: action.expires_at.map(moment) }),
        next_check_at: resource.next_check_at.filter(|_| !resource.status.is_final()).map(moment),
        client_reference: resource.client_reference.as_deref(),
        metadata: written.as_deref().or(empty.as_deref()),
        version: resource.version,
        created_at: moment(resource.created_at),
        updated_at: moment(resource.updated_at),
    };
    serde_json::to_vec(&shown).expect("a plain struct of strings and numbers")
}

pub(super) fn balances(balances: &[Balance]) -> Vec<u8> {
    #[derive(Serialize)]
    struct One<'a> {
        currency: &'a str,
        available: i64,
        held: i64,
        /// Shown only to those who owe.
        #[serde(skip_serializing_if = "is_zero")]
        owed: i64,
    }
    #[derive(Serialize)]
    struct All<'a> {
        balances: Vec<One<'a>>,
    }
    let all = balances.iter().map(|balance| One {
        currency: &balance.currency,
        available: balance.available,
        held: balance.held,
        owed: balance.owed,
    });
    serde_json::to_vec(&All { balances: all.collect() }).expect("a plain struct of strings and numbers")
}

fn is_zero(amount: &i64) -> bool {
    *amount == 0
}
