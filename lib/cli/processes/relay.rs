//! The relay: outbox rows into Kafka.

use super::{Error, Need, Process, Shell};
use crate::cli::routes::GATEWAYS;

pub const RELAY: Process = Process { name: "relay", admin_port: 15003, needs: &[Need::Postgres] };

/// Wires the process and starts its stage; it ends with its life.
pub async fn relay(shell: &mut Shell) -> Result<(), Error> {
    let pool = shell.settings.postgres.lazy_pool(RELAY.name)?;
    shell.serve_admin(Some(&pool)).await?;
    shell.announce();
    shell.watch_kafka(GATEWAYS);
    shell.schema().await?;
    start_relay(shell);
    Ok(())
}

/// The stage alone, for a process that also runs others.
pub fn start_relay(shell: &Shell) {
    let (settings, stop) = (shell.settings.clone(), shell.life.stop.clone());
    shell.life.spawn("relay", crate::relay::run(settings.relay, settings.postgres, settings.kafka, stop));
}
