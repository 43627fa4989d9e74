//! The gateways that the simulator stands for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::ids::{Kind, Operation};

/// Whose protocol is spoken. Named as the fleet names its gateways.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vendor {
    Stripe,
    Paypal,
    Bank,
}

impl Vendor {
    pub const ALL: [Self; 3] = [Self::Stripe, Self::Paypal, Self::Bank];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stripe => "stripe",
            Self::Paypal => "paypal",
            Self::Bank => "bank",
        }
    }

    /// The call that moves the money of a payment.
    pub(super) fn money_call(self, kind: Kind) -> Operation {
        match (self, kind) {
            (Self::Paypal, Kind::Deposit) => Operation::Capture,
            _ => Operation::Create,
        }
    }

    /// Whether every deposit needs the customer's approval.
    pub(super) fn asks_customer(self) -> bool {
        self == Self::Paypal
    }

    /// Whether the call that moves the money is answered with the result; else the result comes later.
    pub(super) fn answers_with_result(self, kind: Kind) -> bool {
        kind == Kind::Deposit && self != Self::Bank
    }

    /// Whether a payment that its customer leaves alone runs out. Stripe keeps it open.
    pub(super) fn runs_out(self) -> bool {
        self != Self::Stripe
    }
}

impl std::str::FromStr for Vendor {
    type Err = UnknownVendor;

    fn from_str(name: &str) -> Result<Self, UnknownVendor> {
        Self::ALL.into_iter().find(|vendor| vendor.as_str() == name).ok_or(UnknownVendor)
    }
}

/// One of each for every gateway.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerGateway<T> {
    pub stripe: T,
    pub paypal: T,
    pub bank: T,
}

impl<T> PerGateway<T> {
    pub fn of(&self, vendor: Vendor) -> &T {
        match vendor {
            Vendor::Stripe => &self.stripe,
            Vendor::Paypal => &self.paypal,
            Vendor::Bank => &self.bank,
        }
    }

    pub fn of_mut(&mut self, vendor: Vendor) -> &mut T {
        match vendor {
            Vendor::Stripe => &mut self.stripe,
            Vendor::Paypal => &mut self.paypal,
            Vendor::Bank => &mut self.bank,
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no gateway of this name is simulated")]
pub struct UnknownVendor;

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
