//! The ingress: the API, and the gateways' callbacks. Any number of replicas.

use std::process::ExitCode;

use payfleet::cli::processes::{INGRESS, ingress, run};

fn main() -> ExitCode {
    run(INGRESS, ingress)
}
