//! What the gateways do to those who trust them: answers that do not come, or not whole, or are not true; callbacks that are
//! missing, late, doubled or false; and no gateway at all.
//!
//! | lie | what it befalls |
//! |---|---|
//! | of the answer | each request of a key by its number, each question likewise. Of several that chance has in store, the first in [`Lie::ALL`] |
//! | of the payment (`wrong_*`, `callback_*`) | decided with the request that makes the payment, and then true of it for good |
//! | of the gateway (`down`, `frozen`, `flapping`) | every request while it lasts |
//!
//! A lie is about a charge and never makes one: a key is charged once, and the charge log tells the truth, also about who was lied to.
//! Chance is thrown from the seed, the lie and the key (or what a question asks about), and how often that came since the start, so
//! that it does not depend on the order in which requests of different payments arrive. An amount that has a lie of its own meets that one and no other.
//!
//! If it dies here: what was decided about a payment is in the log; chances are the settings' again, and scripts are forgotten.

mod chances;
mod control;
mod desk;
mod lie;

pub use chances::Lies;
pub use control::routes;
pub use desk::{Desk, Meets};
pub use lie::{Effect, Lie, wrong_money};
