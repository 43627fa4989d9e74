//! The guarantees of payfleet, tested on real PostgreSQL, Redis and Kafka. `make test` starts the servers and runs them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod harness;

mod apart;
mod callback;
#[cfg(feature = "failpoints")]
mod chaos;
mod combiner;
mod dead_letters;
mod dev;
mod endings;
#[cfg_attr(not(feature = "failpoints"), allow(dead_code, reason = "chaos kills, freezes and stands behind doors"))]
mod fleet;
mod gateways;
mod idempotency;
mod ingress;
mod kafka;
mod load;
mod migrating;
mod outbox;
mod plans;
mod reconciler;
mod redis;
mod relay;
mod settlement;
mod simulator;
mod starting;
mod tidy;
mod verify;
mod worker;
