//! Commands into calls at gateways: consumed, carried through by [`attempt`], their outcomes handed to settlement.
//!
//! If it dies here: the command's offset is not committed, so another worker gets it. What it finds depends on how far this one
//! came; see [`attempt`].

pub mod attempt;
mod run;

pub use run::{Settings, run};
