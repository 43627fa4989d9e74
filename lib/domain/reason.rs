//! Why a payment stands where it stands, where its status alone does not say.

/// Of what a human has settled.
pub const RESOLVED: &str = "resolved";
/// Of a payment for whose sending the time was over.
pub const NOT_SENT: &str = "not_sent";

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reason {
    pub code: String,
    pub message: String,
    pub gateway_code: Option<String>,
}
