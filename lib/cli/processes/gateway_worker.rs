//! The gateway-worker: commands into calls, callbacks into steps, and whatever is due looked at again.

use std::sync::Arc;

use super::{Error, Process, Shell};
use crate::dead_letters::DeadLetters;
use crate::gateway::{self, Gateways};
use crate::kafka::consumer::Graveyard;
use crate::outbox::doorbell::Doorbell;
use crate::routing::Routing;
use crate::sealing::Sealer;
use crate::settlement::{Foundation, Settlement};
use crate::worker::attempt::Attempts;
use crate::{callback, worker};

pub const GATEWAY_WORKER: Process = Process { name: "gateway-worker", admin_port: 15004 };

/// Wires the process and starts its stages; they end with its life.
pub async fn gateway_worker(shell: &mut Shell) -> Result<(), Error> {
    let settings = shell.settings.clone();
    let pool = settings.postgres.lazy_pool(GATEWAY_WORKER.name)?;
    shell.serve_admin(Some(&pool)).await?;
    shell.announce();
    let gateways = gateway::registry(&settings.gateways).map_err(|error| Error::Settings(error.to_string()))?;
    let sealer = Sealer::new(&settings.sealing).map_err(|error| Error::Settings(error.to_string()))?;
    shell.schema().await?;

    let life = &shell.life;
    let doorbell = Doorbell::start(&settings.postgres, &life.tasks, life.stop.clone());
    let routing = Routing::start(pool.clone(), &gateways, &life.tasks, life.stop.clone());
    life.stop.run_until_cancelled(routing.loaded()).await.ok_or(Error::Stopped)?;
    let graveyard: Arc<dyn Graveyard> = Arc::new(DeadLetters::new(pool.clone(), doorbell.clone()));
    let foundation = Foundation {
        pool: pool.clone(),
        postgres: settings.postgres.clone(),
        gateways: gateways.clone(),
        routing,
        sealer,
        doorbell,
    };
    let settlement = Settlement::start(&settings.settlement, foundation, &life.tasks)
        .map_err(|error| Error::Settings(error.to_string()))?;
    start_stages(shell, &gateways, settlement, graveyard);
    Ok(())
}

fn start_stages(shell: &Shell, gateways: &Gateways, settlement: Settlement, graveyard: Arc<dyn Graveyard>) {
    let (settings, life) = (shell.settings.clone(), &shell.life);
    let names: Vec<&'static str> = gateways.iter().map(|gateway| gateway.name()).collect();
    let (attempts, stop, dead) = (Attempts::new(settlement.clone()), life.stop.clone(), graveyard.clone());
    let (worker, kafka) = (settings.worker.clone(), settings.kafka.clone());
    life.spawn("worker", async move { worker::run(&worker, &kafka, &names, attempts, dead, stop).await });

    let (applied, stop) = (settlement, life.stop.clone());
    let (applier, kafka) = (settings.applier.clone(), settings.kafka.clone());
    life.spawn("callback applier", async move { callback::run(&applier, &kafka, applied, graveyard, stop).await });
}
