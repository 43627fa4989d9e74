//! Acceptance: what a client orders, and the new payment that follows from it, complete with everything that is committed with it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::destination::Destination;
use super::event::{self, Act, Command, Emission, StatusChanged};
use super::ids::Kind;
use super::money::Money;
use super::posting::{self, Posting};
use super::route::{self, GatewayState, Next, Route, Wanted};
use super::transaction::Status;

/// The largest amount of one payment, in minor units: far below where sums of payments could leave 64 bits, and exact as a number
/// in every JSON reader (2⁵³).
pub const LARGEST_AMOUNT: i64 = 999_999_999_999;

/// For how long a new payment may wait until it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sending {
    /// When the fleet looks at it for the first time by itself.
    pub first_look: Duration,
    pub deposit: Duration,
    pub withdrawal: Duration,
}

/// A payment as its owner orders it, checked and in one form whatever it was written in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Order {
    pub kind: Kind,
    pub money: Money,
    /// ISO 3166-1 alpha-2. None: the user's.
    pub country: Option<String>,
    /// The one gateway that may carry it.
    pub pinned_gateway: Option<String>,
    /// Of every withdrawal, and of nothing else.
    pub destination: Option<Destination>,
    pub return_url: Option<String>,
    pub client_reference: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

/// Version of [`Order::canonical`]: it changes whenever the same order would be written in other bytes.
const CANONICAL: &[u8] = b"payfleet order v1 ";

impl Order {
    /// The same bytes for the same order: what is compared when an idempotency key comes again.
    pub fn canonical(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("an order is a plain struct of strings and numbers");
        [CANONICAL, &json].concat()
    }

    /// The metadata as a JSON object, if there is any.
    pub fn metadata_json(&self) -> Option<String> {
        let write = || serde_json::to_string(&self.metadata).expect("a map of strings is always written");
        (!self.metadata.is_empty()).then(write)
    }
}

/// Who orders.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    pub user_id: Uuid,
    pub country: &'a str,
}

/// A payment about to be committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acceptance {
    pub id: Uuid,
    pub user_id: Uuid,
    pub order: Order,
    pub country: String,
    pub gateway: String,
    pub created_at: OffsetDateTime,
    pub due_at: OffsetDateTime,
    /// Not sent to any gateway by then, it fails.
    pub submit_until: OffsetDateTime,
    pub postings: Vec<Posting>,
    /// The aggregate's first record.
    pub event: Emission,
    /// Its second: makes the first attempt.
    pub command: Emission,
}

impl Acceptance {
    pub const VERSION: i64 = 1;
    pub const STATUS: Status = Status::Created;
}

/// No gateway carries this payment: none routes its country and currency, or none of those can pay to its kind of destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no gateway carries this payment")]
pub struct NoRoute;

/// The new payment of an order, at the database's time `now`.
pub fn accept(
    id: Uuid,
    order: Order,
    owner: Owner<'_>,
    sending: Sending,
    routes: &[Route],
    gateways: &[GatewayState],
    now: OffsetDateTime,
) -> Result<Acceptance, NoRoute> {
    let country = order.country.clone().unwrap_or_else(|| owner.country.to_owned());
    let gateway = first_gateway(&order, &country, routes, gateways).ok_or(NoRoute)?;
    let (submit_within, postings) = match order.kind {
        Kind::Deposit => (sending.deposit, Vec::new()),
        Kind::Withdrawal => (sending.withdrawal, posting::hold(order.money.minor)),
    };
    let event = Emission {
        topic: event::EVENTS.into(),
        kind: event::kind::STATUS_CHANGED,
        payload: event::to_payload(&status_changed(id, &order, &gateway)),
    };
    let command = Command {
        transaction_id: id,
        act: Act::Create,
        attempt: 1,
        gateway: gateway.clone(),
        version: Acceptance::VERSION,
        calls: 0,
    };
    let command = Emission {
        topic: event::commands_of(&gateway),
        kind: event::kind::COMMAND,
        payload: event::to_payload(&command),
    };
    Ok(Acceptance {
        id,
        user_id: owner.user_id,
        order,
        country,
        gateway,
        created_at: now,
        due_at: now + sending.first_look,
        submit_until: now + submit_within,
        postings,
        event,
        command,
    })
}

/// The gateway of the first attempt. When all are paused the payment is taken all the same, and waits.
fn first_gateway(order: &Order, country: &str, routes: &[Route], gateways: &[GatewayState]) -> Option<String> {
    let wanted = Wanted {
        kind: order.kind,
        country,
        currency: order.money.currency.code(),
        pinned: order.pinned_gateway.as_deref(),
        destination: order.destination.as_ref().map(Destination::kind),
    };
    let candidates = route::candidates(routes, gateways, wanted);
    match route::next(&candidates, gateways, &[], 0) {
        Next::Try { gateway, .. } | Next::Wait { gateway, .. } => Some(gateway.to_owned()),
        Next::Nowhere => None,
    }
}

fn status_changed(id: Uuid, order: &Order, gateway: &str) -> StatusChanged {
    let (status, substatus) = Acceptance::STATUS.public();
    StatusChanged {
        transaction_id: id,
        r#type: order.kind,
        version: Acceptance::VERSION,
        status: status.into(),
        substatus: substatus.map(Into::into),
        amount: order.money.minor,
        currency: order.money.currency.to_string(),
        gateway: gateway.to_owned(),
        attempt: 0,
        reason: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::destination::DestinationKind;

    fn order(kind: Kind) -> Order {
        Order {
            kind,
            money: Money::new(1250, "EUR".parse().unwrap()),
            country: None,
            pinned_gateway: None,
            destination: (kind == Kind::Withdrawal).then(|| Destination::Iban("DE89370400440532013000".into())),
            return_url: None,
            client_reference: Some("order 7".into()),
            metadata: BTreeMap::from([("b".into(), "2".into()), ("a".into(), "1".into())]),
        }
    }

    fn take(order: Order, paused: bool) -> Result<Acceptance, NoRoute> {
        let gateway = |name: &str, pays_to: &[DestinationKind]| GatewayState {
            name: name.into(),
            paused,
            away: false,
            pays_to: pays_to.to_vec(),
        };
        let gateways = [gateway("stripe", &[DestinationKind::Token]), gateway("bank", &[DestinationKind::Iban])];
        let route =
            |priority, gateway: &str| Route { country: None, currency: None, priority, gateway: gateway.into() };
        let owner = Owner { user_id: Uuid::nil(), country: "DE" };
        let routes = [route(1, "stripe"), route(2, "bank")];
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let sending = Sending { first_look: minutes(1), deposit: minutes(15), withdrawal: minutes(60) };
        accept(Uuid::nil(), order, owner, sending, &routes, &gateways, OffsetDateTime::UNIX_EPOCH)
    }

    #[test]
    fn a_deposit_books_nothing_until_it_succeeds() {
        let deposit = take(order(Kind::Deposit), false).unwrap();
        assert!(deposit.postings.is_empty());
        assert_eq!((deposit.gateway.as_str(), deposit.country.as_str()), ("stripe", "DE"));
        assert_eq!(deposit.submit_until - deposit.created_at, time::Duration::minutes(15));
        assert_eq!(deposit.due_at - deposit.created_at, time::Duration::minutes(1));
        assert_eq!(deposit.command.topic, "payments.commands.stripe");
    }

    #[test]
    fn a_withdrawal_holds_its_money_and_goes_where_it_can_be_paid() {
        let withdrawal = take(order(Kind::Withdrawal), false).unwrap();
        assert_eq!(withdrawal.postings.iter().map(Posting::delta).collect::<Vec<_>>(), [-1250, 1250]);
        assert_eq!(withdrawal.gateway, "bank");
        assert_eq!(withdrawal.submit_until - withdrawal.created_at, time::Duration::hours(1));
        let said: serde_json::Value = serde_json::from_slice(&withdrawal.command.payload).unwrap();
        assert!(said.get("calls").is_none(), "workers from before it refuse what they do not know");
        let command: Command = serde_json::from_slice(&withdrawal.command.payload).unwrap();
        assert_eq!((command.attempt, command.version, command.act), (1, 1, Act::Create));
    }

    #[test]
    fn a_payment_that_no_gateway_carries_is_refused_but_a_pause_is_waited_out() {
        let mut pinned = order(Kind::Withdrawal);
        pinned.pinned_gateway = Some("stripe".into());
        assert_eq!(take(pinned, false), Err(NoRoute));
        assert_eq!(take(order(Kind::Deposit), true).unwrap().gateway, "stripe");
    }

    #[test]
    fn the_canonical_form_of_an_order_never_changes() {
        let text = String::from_utf8(order(Kind::Withdrawal).canonical()).unwrap();
        assert_eq!(
            text,
            r#"payfleet order v1 {"kind":"withdrawal","money":{"minor":1250,"currency":"EUR"},"country":null,"pinned_gateway":null,"destination":{"iban":"DE89370400440532013000"},"return_url":null,"client_reference":"order 7","metadata":{"a":"1","b":"2"}}"#,
            "stored keys are compared with it: another form needs another version, and both must be tried"
        );
    }
}
