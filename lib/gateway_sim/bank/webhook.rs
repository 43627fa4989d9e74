//! The bank's callbacks: bare status reports, signed as Standard Webhooks (standardwebhooks.com).

use super::{report, soap};
use crate::domain::ids::Kind;
use crate::gateway_sim::books::State;
use crate::gateway_sim::callbacks::{Event, Message, Told};
use crate::gateway_sim::house::{House, now};

pub const TOLD: &[Told] = &[
    (Kind::Deposit, State::Succeeded, "pain.014 ACSC"),
    (Kind::Deposit, State::Failed, "pain.014 RJCT"),
    (Kind::Deposit, State::Cancelled, "pain.014 RJCT"),
    (Kind::Deposit, State::Expired, "pain.014 RJCT"),
    (Kind::Withdrawal, State::Succeeded, "pain.002 ACSC"),
    (Kind::Withdrawal, State::Failed, "pain.002 RJCT"),
];

pub fn callback(house: &House, event: &Event<'_>) -> Message {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", report::standing(house, event.payment));
    let sent_at = now().unix_timestamp();
    let headers = vec![
        ("content-type", soap::CONTENT_TYPE.into()),
        ("webhook-id", event.id.into()),
        ("webhook-timestamp", sent_at.to_string()),
        ("webhook-signature", house.signers.bank(event.id, sent_at, &body)),
    ];
    Message { headers, body }
}
