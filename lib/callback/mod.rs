//! Gateways' messages: verified on their raw bytes, stored, answered, and applied later in a commit of their own.
//!
//! If it dies before the commit: no 2xx was sent, the gateway sends the message again. After it: the stored message is applied by its
//! record on payments.callbacks, or when it falls due.

pub mod receive;
pub mod run;

pub use run::run;
