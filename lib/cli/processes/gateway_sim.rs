//! The simulated gateways. They stand for other companies' servers, so they share nothing with the fleet but HTTP.

use super::{Error, Need, Process, Shell};
use crate::gateway_sim::GatewaySim;

pub const GATEWAY_SIM: Process = Process { name: "gateway-sim", admin_port: 15005, needs: &[Need::NoRealMoney] };

/// Wires the process and starts the simulator; it ends with its life.
pub async fn gateway_sim(shell: &mut Shell) -> Result<(), Error> {
    let simulator = GatewaySim::bind(shell.settings.sim.clone()).await?;
    shell.knows("simulator", simulator.address().port());
    shell.serve_admin(None).await?;
    shell.announce();
    let stop = shell.life.stop.clone();
    shell.life.spawn("simulator", simulator.run(stop));
    Ok(())
}
