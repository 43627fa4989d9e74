//! Why a payment stands where it stands, where its status alone does not say.

/// Of what a human has settled.
pub const RESOLVED: &str = "resolved";

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reason {
    pub code: String,
    pub message: String,
    pub gateway_code: Option<String>,
}
