//! The relay: outbox rows into Kafka. Any number of replicas.

use std::process::ExitCode;

use payfleet::cli::processes::{RELAY, relay, run};

fn main() -> ExitCode {
    run(RELAY, relay)
}
