//! The gateways that the simulator stands for.

use std::fmt;

use serde::{Deserialize, Serialize};

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
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
