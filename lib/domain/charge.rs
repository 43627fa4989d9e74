//! What really happened at the gateways, told by the other side: the lines of the simulator's log.
//!
//! One JSON object a line, appended and synced before the answer leaves. The simulator writes it, the checker reads it; neither
//! believes the other's books. Readers skip an unfinished last line: nobody was answered on the strength of it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::ids::Kind;
use super::outcome::Reversal;

/// A line of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// When it happened; of a request: when its last byte had arrived.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub gateway: String,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum What {
    /// A request came in. Written before anything is done about it, also when the answer is a refusal.
    Request {
        /// Method and path, `POST /v1/payment_intents`.
        call: String,
        /// It may move money: the create or capture of a payment, not a question about one.
        moves_money: bool,
        /// The idempotency key that it carries, see [`super::ids::Operation::key`].
        key: Option<String>,
        attempt_id: Option<Uuid>,
    },
    /// Money moved: taken from the customer, or paid out.
    Charge {
        /// The gateway's own id of the payment.
        reference: String,
        /// Of the request that moved it.
        key: String,
        attempt_id: Uuid,
        kind: Kind,
        /// What was really moved, in minor units: not always what was asked for.
        amount: i64,
        currency: String,
    },
    /// Money moved back.
    Reversal { reference: String, attempt_id: Uuid, amount: i64, currency: String, how: Reversal },
    /// The payment stands on the gateway's books as failed.
    Decline { reference: String, key: String, attempt_id: Uuid, code: String },
    /// The simulator misbehaved on purpose about this payment: `wrong_amount`, `never_answers` …
    Fault { attempt_id: Option<Uuid>, fault: String },
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_line_reads_back() {
        let entry = Entry {
            at: datetime!(2026-11-22 20:15:00.000123 UTC),
            gateway: "stripe".into(),
            what: What::Charge {
                reference: "pi_1".into(),
                key: "k".into(),
                attempt_id: Uuid::nil(),
                kind: Kind::Deposit,
                amount: 1250,
                currency: "EUR".into(),
            },
        };
        let line = serde_json::to_string(&entry).unwrap();
        assert!(
            line.starts_with(r#"{"at":"2026-11-22T20:15:00.000123Z","gateway":"stripe","what":"charge""#),
            "{line}"
        );
        assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry);
    }
}
