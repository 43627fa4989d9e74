//! The worker's run loop: one consumer group for each gateway's commands.
//!
//! Each gateway has its own topic, group and bound on what runs at once, so that one that is slow or away uses up its own room only. The
//! bound follows the gateway's latency.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::attempt::Attempts;
use crate::domain::event::{Command, commands_of, kind};
use crate::kafka;
use crate::kafka::consumer::{self, Concurrency, Graveyard, HandleError, Handler, Record, Room};
use crate::service::failpoint::{self, Window};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Commands under way at the same time for one gateway at most: its bulkhead. An answer that cannot be recorded yet keeps no place in
    /// it.
    pub concurrency: usize,
    /// The same for single gateways, by name.
    pub concurrencies: BTreeMap<String, usize>,
    /// How few it comes down to while calls take longer than they used to, fail, or are told to come later.
    pub least_concurrency: usize,
    /// A call that takes no longer than this is never taken for a slow one.
    pub calm_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { concurrency: 128, concurrencies: BTreeMap::new(), least_concurrency: 8, calm_ms: 250 }
    }
}

impl Settings {
    fn concurrency_of(&self, gateway: &str) -> Concurrency {
        let most = self.concurrencies.get(gateway).copied().unwrap_or(self.concurrency);
        Concurrency { least: self.least_concurrency, most, calm: Duration::from_millis(self.calm_ms) }
    }
}

/// Carries out the commands of these gateways until `stop`. Fails when one of its consumers cannot go on; the others then leave
/// their groups in good order first.
pub async fn run(
    settings: &Settings,
    kafka: &kafka::Settings,
    gateways: &[&'static str],
    attempts: Attempts,
    graveyard: Arc<dyn Graveyard>,
    stop: CancellationToken,
) -> Result<(), consumer::Error> {
    let leave = stop.child_token();
    let mut consumers = JoinSet::new();
    for gateway in gateways {
        let concurrency = settings.concurrency_of(gateway);
        show_limit(gateway, concurrency.at_first());
        let member = kafka.member(&format!("payfleet.worker.{gateway}"), &commands_of(gateway), concurrency);
        let commands = Commands { gateway, attempts: attempts.clone() };
        consumers.spawn(consumer::run(member, commands, graveyard.clone(), leave.clone()));
    }
    let mut result = Ok(());
    while let Some(ended) = consumers.join_next().await {
        leave.cancel();
        // A panic in here is the process's: it goes on upwards.
        result = result.and(ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
    }
    result
}

/// How many commands of the gateway are carried out at once from now on.
pub(super) fn show_limit(gateway: &'static str, limit: usize) {
    metrics::gauge!("payfleet_gateway_concurrency_limit", "gateway" => gateway).set(limit as f64);
}

struct Commands {
    gateway: &'static str,
    attempts: Attempts,
}

impl Handler for Commands {
    async fn handle(&self, record: &Record, room: &mut Room<'_>) -> Result<(), HandleError> {
        let command = read(record, self.gateway)?;
        self.attempts.handle_in(room, command).await?;
        failpoint::reached(Window::C12).await;
        Ok(())
    }
}

/// The command in a record; anything that is not exactly one is dead.
fn read(record: &Record, gateway: &str) -> Result<Command, HandleError> {
    let command: Command = record.parse(kind::COMMAND)?;
    if command.gateway != gateway {
        return Err(HandleError::Dead(format!("a command on {gateway}'s topic names another gateway")));
    }
    // Another key is another order: two commands for one payment could then run at once.
    if record.aggregate() != Some(command.transaction_id) {
        return Err(HandleError::Dead("the record's key is not the payment that its command names".into()));
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::domain::event::{Act, header};

    const PAYMENT: Uuid = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);

    fn record(kind: &str, payload: Option<String>) -> Record {
        Record {
            topic: "payments.commands.bank".into(),
            partition: 0,
            offset: 0,
            key: Some(PAYMENT.to_string().into()),
            payload: payload.map(Bytes::from),
            headers: vec![(header::TYPE.into(), Bytes::copy_from_slice(kind.as_bytes()))],
        }
    }

    fn command() -> serde_json::Value {
        json!({ "transaction_id": PAYMENT, "act": "create", "attempt": 1, "gateway": "bank", "version": 3 })
    }

    fn reason(record: &Record) -> String {
        match read(record, "bank") {
            Err(HandleError::Dead(reason)) => reason,
            other => panic!("not dead: {other:?}"),
        }
    }

    #[test]
    fn a_command_is_read() {
        let command = read(&record(kind::COMMAND, Some(command().to_string())), "bank").unwrap();
        assert_eq!((command.transaction_id, command.act, command.version), (PAYMENT, Act::Create, 3));
    }

    #[test]
    fn whatever_is_not_exactly_a_command_is_dead_with_its_reason() {
        let with = |field: &str, value: serde_json::Value| {
            let mut changed = command();
            changed[field] = value;
            record(kind::COMMAND, Some(changed.to_string()))
        };
        assert_eq!(reason(&record(kind::COMMAND, None)), "the record has no payload");
        assert!(reason(&record("payfleet.gateway.command.v2", Some(command().to_string()))).contains("command.v2"));
        assert!(reason(&record(kind::COMMAND, Some("{".into()))).contains("Eof"));
        assert!(reason(&record(kind::COMMAND, Some("null".into()))).contains("Data"));
        assert!(reason(&with("version", json!("3"))).contains("Data"));
        assert!(reason(&with("act", json!("refund"))).contains("Data"));
        assert!(reason(&with("gateway", json!("stripe"))).contains("another gateway"));
        assert!(reason(&with("transaction_id", json!(Uuid::nil()))).contains("key"));
    }

    /// Programs of two versions share a topic while one is rolled out, or back.
    #[test]
    fn a_command_of_a_later_version_that_says_more_is_carried_out() {
        let mut later = command();
        later["not_before"] = json!("2030-01-01T00:00:00Z");
        let read = read(&record(kind::COMMAND, Some(later.to_string())), "bank").unwrap();
        assert_eq!((read.transaction_id, read.act, read.calls), (PAYMENT, Act::Create, 0));
    }

    #[test]
    fn a_command_says_nothing_that_earlier_versions_refuse_unless_it_must() {
        let read: Command = serde_json::from_value(command()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), command());
        let again = Command { calls: 2, ..read };
        assert_eq!(serde_json::to_value(&again).unwrap()["calls"], 2);
    }

    #[test]
    fn a_reason_quotes_nothing_of_the_payload() {
        let mut changed = command();
        changed["attempt"] = json!("DE89370400440532013000");
        assert!(!reason(&record(kind::COMMAND, Some(changed.to_string()))).contains("DE89"));
    }
}
