//! Guarantees of the whole fleet: its programs as they are shipped, as separate processes on real PostgreSQL (with fsync), Redis and
//! Apache Kafka of its own, under load, while parts of it are killed, frozen or taken away.
//!
//! What must hold is judged by `payfleet verify`'s checker, from the books of both sides; of relays alone, by a journal that is written
//! with the events.

pub mod crew;
pub mod process;
pub mod site;

mod apart;
mod asked;
mod beginning;
mod broker_away;
#[cfg(feature = "failpoints")]
mod frozen_worker;
mod judged;
#[cfg(feature = "failpoints")]
mod killed;
mod leader_killed;
mod leaving;
mod memory;
#[cfg(feature = "failpoints")]
mod million;
mod overload;
#[cfg(feature = "failpoints")]
mod windows;

/// A number that the environment may choose.
fn chosen(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(number) => number.parse().unwrap_or_else(|error| panic!("{variable}={number}: {error}")),
        Err(_) => otherwise,
    }
}
