//! The applier's run loop: stored callbacks, in the order of their records, into settlement. It never calls a gateway.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::domain::event::{CALLBACKS, CallbackStored, kind};
use crate::kafka;
use crate::kafka::consumer::{self, Graveyard, HandleError, Handler, Record, Room};
use crate::settlement::Settlement;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Callbacks applied at the same time at most.
    pub concurrency: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { concurrency: 128 }
    }
}

/// Applies stored callbacks until `stop`.
pub async fn run(
    settings: &Settings,
    kafka: &kafka::Settings,
    settlement: Settlement,
    graveyard: Arc<dyn Graveyard>,
    stop: CancellationToken,
) -> Result<(), consumer::Error> {
    let member = kafka.member("payfleet.callbacks", CALLBACKS, settings.concurrency);
    consumer::run(member, Applier { settlement }, graveyard, stop).await
}

struct Applier {
    settlement: Settlement,
}

impl Handler for Applier {
    async fn handle(&self, record: &Record, _: &mut Room<'_>) -> Result<(), HandleError> {
        let stored: CallbackStored = record.parse(kind::CALLBACK)?;
        Ok(self.settlement.apply_callback(stored.callback_id).await?)
    }
}
