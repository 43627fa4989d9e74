//! The gateway-worker: consumes commands and callbacks, calls gateways, looks after whatever is due.

use std::process::ExitCode;

use payfleet::cli::processes::{GATEWAY_WORKER, gateway_worker, run};

fn main() -> ExitCode {
    run(GATEWAY_WORKER, gateway_worker)
}
