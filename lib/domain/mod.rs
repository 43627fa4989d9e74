//! The rules of payments, pure: no async, no I/O, no clock. Time comes in as an argument, effects go out as values.
//!
//! A stage reads a [`transaction::Transaction`], asks [`decide`] what follows from what happened, and has the resulting
//! [`change::Change`] committed by `settlement`. Nothing else moves a payment.

pub mod accept;
pub mod change;
pub mod decide;
pub mod destination;
pub mod event;
pub mod ids;
pub mod lane;
pub mod money;
pub mod outcome;
pub mod posting;
pub mod reason;
pub mod route;
pub mod status;
pub mod transaction;
