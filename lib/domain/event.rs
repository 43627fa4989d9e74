//! What travels on Kafka: topics, record payloads and their hashes. CloudEvents 1.0 in binary mode: attributes are headers.
//!
//! An event's id is `{aggregate}/{seq}`: the aggregate is the transaction (for a callback that was not matched, the callback; for a
//! dead letter, the dead letter), `seq` counts its events over all topics from 1 without gaps.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::ids::{Kind, Operation};

pub const EVENTS: &str = "payments.events";
pub const CALLBACKS: &str = "payments.callbacks";
pub const DEAD: &str = "payments.dead";

/// The topic of a gateway's commands. Each gateway has its own, so that a slow one holds up nobody else.
pub fn commands_of(gateway: &str) -> String {
    format!("payments.commands.{gateway}")
}

/// Values of `ce_type`.
pub mod kind {
    pub const STATUS_CHANGED: &str = "payfleet.transaction.status_changed.v1";
    pub const COMMAND: &str = "payfleet.gateway.command.v1";
    pub const CALLBACK: &str = "payfleet.callback.stored.v1";
    pub const DEAD: &str = "payfleet.record.dead.v1";
}

/// Header names. `ce_*` are CloudEvents attributes, `payfleet-*` ours.
pub mod header {
    pub const ID: &str = "ce_id";
    pub const SOURCE: &str = "ce_source";
    pub const TYPE: &str = "ce_type";
    pub const SPEC_VERSION: &str = "ce_specversion";
    pub const SUBJECT: &str = "ce_subject";
    pub const TIME: &str = "ce_time";
    pub const CONTENT_TYPE: &str = "content-type";
    pub const TRACEPARENT: &str = "traceparent";
    pub const SEQ: &str = "payfleet-seq";
    pub const INCARNATION: &str = "payfleet-incarnation";
}

/// An outbox row to be: everything but the numbers that the database gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Emission {
    pub topic: String,
    pub kind: &'static str,
    pub payload: Vec<u8>,
}

impl Emission {
    pub fn hash(&self) -> Vec<u8> {
        hash(&self.payload)
    }
}

/// SHA-256 of a payload: what transitions keep, so that topics can be compared with history.
pub fn hash(payload: &[u8]) -> Vec<u8> {
    Sha256::digest(payload).to_vec()
}

/// What a worker is asked to do. It is dropped when attempt or gateway are no longer the transaction's, or its call was made since.
///
/// While a version is being rolled out, or back, programs read each other's records. A field that a reader does not know is passed over: the
/// payment is worth more than what the field says, and the payment's own row guards it. What changes the meaning of the others needs
/// another type.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Command {
    pub transaction_id: Uuid,
    pub act: Act,
    /// The number of the attempt to make (for `create`: the next one) or to go on with.
    pub attempt: i16,
    pub gateway: String,
    pub version: i64,
    /// How often its call might have been made when it was given. Not written where it was not: readers from before this field refuse it.
    #[serde(default, skip_serializing_if = "is_none_made")]
    pub calls: i16,
}

fn is_none_made(calls: &i16) -> bool {
    *calls == 0
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Make the attempt: send the payment to the gateway.
    Create,
    /// The customer has approved: take the money.
    Capture,
    /// Ask the gateway what became of the attempt.
    Ask,
}

impl Act {
    pub fn operation(self) -> Option<Operation> {
        match self {
            Self::Create => Some(Operation::Create),
            Self::Capture => Some(Operation::Capture),
            Self::Ask => None,
        }
    }
}

/// A payment took a step. Every version of a transaction emits exactly one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StatusChanged {
    pub transaction_id: Uuid,
    pub r#type: Kind,
    pub version: i64,
    pub status: String,
    pub substatus: Option<String>,
    pub amount: i64,
    pub currency: String,
    pub gateway: String,
    pub attempt: i16,
    pub reason: Option<String>,
}

/// A gateway's message was stored; the record only points at it, the message itself stays sealed in Postgres. As of a command, what a reader
/// does not know of it is passed over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CallbackStored {
    pub callback_id: Uuid,
    pub gateway: String,
    pub transaction_id: Option<Uuid>,
}

/// A consumed record that could not be processed. Its bytes stay in Postgres, where access is controlled.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeadRecord {
    pub dead_letter_id: Uuid,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub reason: String,
    /// The group that could not handle it, and how often it tried. Absent from records of earlier versions.
    #[serde(default)]
    pub consumer: String,
    #[serde(default)]
    pub attempts: i32,
}

/// A payload as JSON bytes. These types always serialise: they hold strings and numbers only.
pub fn to_payload<T: Serialize>(payload: &T) -> Vec<u8> {
    serde_json::to_vec(payload).expect("event payloads are plain structs of strings and numbers")
}
