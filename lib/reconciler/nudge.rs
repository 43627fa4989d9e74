//! Hears that somebody wants a payment looked at now. What it hears only shortens waiting: the timer is the truth.

use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::postgres;
use crate::service::retry::policy;
use crate::transactions::due::CHANNEL;

/// Listens until `stop`.
pub(super) async fn listen(postgres: &postgres::Settings, nudge: &Notify, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        if let Some(Err(error)) = stop.run_until_cancelled(hear(postgres, nudge)).await {
            tracing::debug!(%error, "the reconciler hears no nudges; it sweeps by its timer");
        }
        stop.run_until_cancelled(tokio::time::sleep(policy::LISTENING.first())).await;
    }
}

async fn hear(postgres: &postgres::Settings, nudge: &Notify) -> Result<(), sqlx::Error> {
    let single = postgres::Settings { pool: 1, ..postgres.clone() };
    let mut listener = PgListener::connect_with(&single.lazy_pool("reconciler listening")?).await?;
    listener.listen(CHANNEL).await?;
    while listener.try_recv().await?.is_some() {
        nudge.notify_one();
    }
    Ok(())
}
