//! A payment on a gateway's books.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::ids::Kind;
use crate::domain::money::Money;
use crate::gateway_sim::charge_log::{ChargeEntry, ChargeResult, StateEntry, StateName};
use crate::gateway_sim::lies::Lie;
use crate::gateway_sim::vendor::Vendor;

/// Where a payment stands.
///
/// ```text
/// AwaitingCustomer ─┬▶ Approved ─▶ Capturing ─┬▶ Succeeded ─▶ Reversed
///                   ├─────────────────────────┤
///                   ├▶ Cancelled, Expired     └▶ Failed
/// Pending ──────────┴▶ Succeeded, Failed
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    AwaitingCustomer,
    /// The customer agreed; the money waits to be captured.
    Approved,
    Pending,
    /// As pending, after a capture.
    Capturing,
    Succeeded,
    Failed,
    Cancelled,
    Expired,
    Reversed,
}

impl State {
    /// What a liar says of a payment that is over; None while it is not.
    pub fn opposite(self) -> Option<Self> {
        match self {
            Self::Succeeded => Some(Self::Failed),
            Self::Failed | Self::Cancelled | Self::Expired => Some(Self::Succeeded),
            Self::AwaitingCustomer | Self::Approved | Self::Pending | Self::Capturing | Self::Reversed => None,
        }
    }
}

impl From<ChargeResult> for State {
    fn from(result: ChargeResult) -> Self {
        match result {
            ChargeResult::Succeeded => Self::Succeeded,
            ChargeResult::Declined => Self::Failed,
            ChargeResult::Pending => Self::Pending,
            ChargeResult::AwaitingCustomer => Self::AwaitingCustomer,
        }
    }
}

impl From<StateName> for State {
    fn from(name: StateName) -> Self {
        match name {
            StateName::Approved => Self::Approved,
            StateName::Capturing => Self::Capturing,
            StateName::Captured => Self::Succeeded,
            StateName::Cancelled => Self::Cancelled,
            StateName::Expired => Self::Expired,
            StateName::Failed => Self::Failed,
            StateName::Reversed => Self::Reversed,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Payment {
    pub vendor: Vendor,
    pub reference: String,
    pub key: String,
    pub attempt_id: Option<Uuid>,
    pub transaction_id: Option<Uuid>,
    pub kind: Kind,
    pub money: Money,
    pub fingerprint: String,
    pub return_url: Option<String>,
    pub cancel_url: Option<String>,
    pub customer_until: Option<OffsetDateTime>,
    pub echo: BTreeMap<String, String>,
    /// What is lied about it.
    pub lies: Vec<Lie>,
    /// What is told instead of the money.
    pub told_as: Option<Money>,
    pub state: State,
    /// How it stood when it came onto the books, which is what its first answer said.
    pub opened_as: State,
    /// The key of the capture, once there was one.
    pub captured_by: Option<String>,
    pub created_at: OffsetDateTime,
    pub changed_at: OffsetDateTime,
}

impl Payment {
    pub fn opened(charge: &ChargeEntry) -> Self {
        Self {
            vendor: charge.gateway,
            reference: charge.reference.clone(),
            key: charge.key.clone(),
            attempt_id: charge.attempt_id,
            transaction_id: charge.transaction_id,
            kind: charge.direction,
            money: Money::new(charge.amount, charge.currency),
            fingerprint: charge.fingerprint.clone(),
            return_url: charge.return_url.clone(),
            cancel_url: charge.cancel_url.clone(),
            customer_until: charge.customer_until,
            echo: charge.echo.clone(),
            lies: charge.lies.clone(),
            told_as: None,
            state: charge.result.into(),
            opened_as: charge.result.into(),
            captured_by: None,
            created_at: charge.at,
            changed_at: charge.at,
        }
    }

    pub(super) fn change(&mut self, change: &StateEntry) {
        self.state = change.state.into();
        self.changed_at = change.at;
        if change.key.is_some() {
            self.captured_by.clone_from(&change.key);
        }
    }

    /// The payment as it was first answered.
    pub fn as_opened(&self) -> Self {
        self.in_state(self.opened_as, self.created_at)
    }

    /// The payment as a message about that state shows it.
    pub fn in_state(&self, state: State, since: OffsetDateTime) -> Self {
        Self { state, changed_at: since, ..self.clone() }
    }

    /// The money as callers are told of it.
    pub fn money_told(&self) -> Money {
        self.told_as.unwrap_or(self.money)
    }

    pub fn meets(&self, lie: Lie) -> bool {
        self.lies.contains(&lie)
    }

    pub fn echoed(&self, name: &str) -> Option<&str> {
        self.echo.get(name).map(String::as_str)
    }
}
