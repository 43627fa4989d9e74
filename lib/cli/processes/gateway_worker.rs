//! The gateway-worker: commands into calls, callbacks into steps, and whatever is due looked at again.

use std::sync::Arc;

use sqlx::postgres::PgPool;

use super::{Error, Need, Process, Shell, edges};
use crate::dead_letters::DeadLetters;
use crate::domain::event::{CALLBACKS, commands_of};
use crate::domain::status::Status;
use crate::gateway::Gateways;
use crate::kafka;
use crate::kafka::consumer::Graveyard;
use crate::outbox::doorbell::Doorbell;
use crate::routing::Routing;
use crate::sealing::Sealer;
use crate::settlement::{Foundation, Settlement};
use crate::worker::attempt::Attempts;
use crate::{callback, reconciler, worker};

pub const GATEWAY_WORKER: Process = Process {
    name: "gateway-worker",
    admin_port: 15004,
    needs: &[Need::Postgres, Need::Gateways, Need::Sealing, Need::Settlement],
};

/// Wires the process and starts its stages; they end with its life.
pub async fn gateway_worker(shell: &mut Shell) -> Result<(), Error> {
    let pool = shell.settings.postgres.lazy_pool(GATEWAY_WORKER.name)?;
    let (gateways, sealer) = edges(&shell.settings)?;
    shell.serve_admin(Some(&pool)).await?;
    shell.announce();
    shell.watch_kafka(gateways.iter().map(|gateway| gateway.name()).collect::<Vec<_>>());
    shell.schema().await?;
    start_gateway_worker(shell, pool, gateways, sealer).await
}

/// The stages alone, for a process that also runs others.
pub async fn start_gateway_worker(
    shell: &Shell,
    pool: PgPool,
    gateways: Gateways,
    sealer: Sealer,
) -> Result<(), Error> {
    let settings = &shell.settings;
    let life = &shell.life;
    let doorbell = Doorbell::start(&settings.postgres, &life.tasks, life.stop.clone());
    let routing = Routing::start(pool.clone(), &gateways, &life.tasks, life.stop.clone());
    life.stop.run_until_cancelled(routing.loaded()).await.ok_or(Error::Stopped)?;
    let graveyard: Arc<dyn Graveyard> = Arc::new(DeadLetters::new(pool.clone(), &settings.postgres, doorbell.clone()));
    let foundation = Foundation {
        pool: pool.clone(),
        postgres: settings.postgres.clone(),
        gateways: gateways.clone(),
        routing,
        sealer,
        doorbell,
    };
    let settlement = Settlement::start(&settings.settlement, foundation, &life.tasks)?;
    start_stages(shell, &gateways, pool, settlement, graveyard);
    Ok(())
}

fn start_stages(
    shell: &Shell,
    gateways: &Gateways,
    pool: PgPool,
    settlement: Settlement,
    graveyard: Arc<dyn Graveyard>,
) {
    let (settings, life) = (shell.settings.clone(), &shell.life);
    let names: Vec<&'static str> = gateways.iter().map(|gateway| gateway.name()).collect();
    show_zeros(&settings.kafka, &names);
    let (attempts, stop, dead) = (Attempts::new(settlement.clone()), life.stop.clone(), graveyard.clone());
    let (worker, kafka) = (settings.worker.clone(), settings.kafka.clone());
    life.spawn("worker", async move { worker::run(&worker, &kafka, &names, attempts, dead, stop).await });

    let (applied, stop) = (settlement.clone(), life.stop.clone());
    let (applier, kafka) = (settings.applier.clone(), settings.kafka.clone());
    life.spawn("callback applier", async move { callback::run(&applier, &kafka, applied, graveyard, stop).await });

    let (reconciler, postgres, stop) = (settings.reconciler.clone(), settings.postgres.clone(), life.stop.clone());
    life.spawn("reconciler", async move {
        reconciler::run(&reconciler, &postgres, pool, settlement, stop).await;
        Ok::<(), std::convert::Infallible>(())
    });
}

/// Tells what nobody hopes to see as 0 from the start: to Prometheus a counter that first appears at 1 has not increased, so the first
/// dead letter and the first payment in review would go unnoticed.
fn show_zeros(kafka: &kafka::Settings, gateways: &[&'static str]) {
    for topic in gateways.iter().map(|gateway| commands_of(gateway)).chain([CALLBACKS.to_owned()]) {
        metrics::counter!("payfleet_dead_letters_total", "topic" => kafka.topic(&topic)).increment(0);
    }
    let to = Status::Review.as_str();
    for from in Status::ALL.into_iter().filter(|from| from.may_become(Status::Review)) {
        metrics::counter!("payfleet_settlement_steps_total", "from" => from.as_str(), "to" => to).increment(0);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn what_nobody_hopes_to_see_is_told_before_it_happens() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || show_zeros(&kafka::Settings::default(), &["bank"]));
        let told = recorder.handle().render();
        for line in [
            r#"payfleet_dead_letters_total{topic="payments.commands.bank"} 0"#,
            r#"payfleet_dead_letters_total{topic="payments.callbacks"} 0"#,
            r#"payfleet_settlement_steps_total{from="unknown",to="review"} 0"#,
        ] {
            assert!(told.lines().any(|told| told == line), "{line} is missing in {told}");
        }
    }
}
