//! The simulated gateways: a server of its own, with books of its own.

use std::process::ExitCode;

use payfleet::cli::processes::{GATEWAY_SIM, gateway_sim, run};

fn main() -> ExitCode {
    run(GATEWAY_SIM, gateway_sim)
}
