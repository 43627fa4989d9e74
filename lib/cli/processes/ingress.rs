//! The ingress: the API, and the gateways' callbacks on the same port.

use sqlx::postgres::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Error, Need, Process, Shell, edges};
use crate::callback::receive::Receiver;
use crate::callbacks::Storing;
use crate::cli::settings::Env;
use crate::gateway::Gateways;
use crate::ingress::{Parts, Surroundings};
use crate::outbox::doorbell::Doorbell;
use crate::postgres::combiner::{Combiner, Layout};
use crate::redis::Redis;
use crate::routing::Routing;
use crate::sealing::Sealer;
use crate::settlement::{Foundation, Settlement};

pub const INGRESS: Process = Process {
    name: "ingress",
    admin_port: 15002,
    needs: &[
        Need::Postgres,
        Need::Redis,
        Need::Pepper,
        Need::Gateways,
        Need::Sealing,
        Need::Settlement,
        Need::TimeToLeave,
    ],
};

/// The variable that chooses the API's port, for whoever finds it taken.
pub const LISTEN: &str = "PAYFLEET_INGRESS__LISTEN";

/// Wires the process and starts its stages; they end with its life.
pub async fn ingress(shell: &mut Shell) -> Result<(), Error> {
    let listen = shell.settings.ingress.listen.clone();
    let api = shell.open("api", &listen, LISTEN).await?;
    let pool = shell.settings.postgres.lazy_pool(INGRESS.name)?;
    let (gateways, sealer) = edges(&shell.settings)?;
    shell.serve_admin(Some(&pool)).await?;
    shell.announce();
    shell.schema().await?;
    start_ingress(shell, api, pool, gateways, sealer).await
}

/// The stages alone, for a process that also runs others.
pub async fn start_ingress(
    shell: &Shell,
    api: TcpListener,
    pool: PgPool,
    gateways: Gateways,
    sealer: Sealer,
) -> Result<(), Error> {
    let (settings, life) = (&shell.settings, &shell.life);
    // Requests are taken for a while after the order to stop: what they rely on goes on until the last of them is answered.
    let answered = CancellationToken::new();
    let until_answered = answered.clone().drop_guard();
    let doorbell = Doorbell::start(&settings.postgres, &life.tasks, answered.clone());
    let routing = Routing::start(pool.clone(), &gateways, &life.tasks, answered.clone());
    life.stop.run_until_cancelled(routing.loaded()).await.ok_or(Error::Stopped)?;
    let redis = Redis::new(&settings.redis)?;
    redis.watch(&life.tasks, shell.missing.clone(), answered);
    let clock = routing.clock();
    let foundation = Foundation {
        pool: pool.clone(),
        postgres: settings.postgres.clone(),
        gateways: gateways.clone(),
        routing: routing.clone(),
        sealer: sealer.clone(),
        doorbell: doorbell.clone(),
    };
    let settlement = Settlement::start(&settings.settlement, foundation, &life.tasks)?;
    let storing = Combiner::start(Storing, &settings.postgres, Layout::default(), &life.tasks);
    let receiver = Receiver::new(
        settings.callback.clone(),
        gateways,
        storing,
        sealer.clone(),
        doorbell.clone(),
        clock.clone(),
        life.tasks.clone(),
    );
    let surroundings = match settings.env {
        Env::Dev => Surroundings::Development,
        Env::Production => Surroundings::Production,
    };
    let parts = Parts {
        settings: settings.ingress.clone(),
        surroundings,
        postgres: settings.postgres.clone(),
        pool,
        redis,
        sealer,
        routing,
        doorbell,
        clock,
        tracker: life.tasks.clone(),
        settlement,
    };
    let serving = crate::ingress::run(api, parts, receiver.routes(), life.stop.clone());
    life.spawn("ingress", async move {
        let _answered = until_answered;
        serving.await
    });
    Ok(())
}
