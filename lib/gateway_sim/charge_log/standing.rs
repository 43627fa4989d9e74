//! What became of each payment, folded from the log.

use std::collections::HashMap;

use time::OffsetDateTime;
use uuid::Uuid;

use super::entry::{ChargeEntry, ChargeResult, Entry, StateName};
use crate::domain::ids::Kind;
use crate::domain::money::Currency;
use crate::gateway_sim::vendor::Vendor;

/// A payment on a gateway's books, as it stands after the last entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    pub gateway: Vendor,
    pub reference: String,
    pub key: String,
    pub attempt_id: Option<Uuid>,
    pub transaction_id: Option<Uuid>,
    pub direction: Kind,
    pub amount: i64,
    pub currency: Currency,
    pub fate: Fate,
    /// When it last changed.
    pub at: OffsetDateTime,
}

/// What a payment's state means for money.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fate {
    /// Nothing moved and nothing will: declined, cancelled, expired, failed.
    NotMoved,
    /// Nothing moved yet; the customer has to agree, or the money waits to be captured.
    AwaitingCustomer,
    /// Accepted; whether money moves is still open.
    Pending,
    /// The money moved.
    Moved,
    /// It moved and was taken back.
    TakenBack,
}

impl Fate {
    fn of_result(result: ChargeResult) -> Self {
        match result {
            ChargeResult::Succeeded => Self::Moved,
            ChargeResult::Declined => Self::NotMoved,
            ChargeResult::Pending => Self::Pending,
            ChargeResult::AwaitingCustomer => Self::AwaitingCustomer,
        }
    }

    fn of_state(state: StateName) -> Self {
        match state {
            StateName::Approved => Self::AwaitingCustomer,
            StateName::Capturing => Self::Pending,
            StateName::Captured => Self::Moved,
            StateName::Cancelled | StateName::Expired | StateName::Failed => Self::NotMoved,
            StateName::Reversed => Self::TakenBack,
        }
    }
}

fn opened(charge: &ChargeEntry) -> Standing {
    Standing {
        gateway: charge.gateway,
        reference: charge.reference.clone(),
        key: charge.key.clone(),
        attempt_id: charge.attempt_id,
        transaction_id: charge.transaction_id,
        direction: charge.direction,
        amount: charge.amount,
        currency: charge.currency,
        fate: Fate::of_result(charge.result),
        at: charge.at,
    }
}

/// Every payment in the order in which it came onto the books. The same key twice means that the gateway had forgotten it.
pub fn standings(entries: &[Entry]) -> Vec<Standing> {
    let mut all: Vec<Standing> = Vec::new();
    let mut at: HashMap<(Vendor, &str), usize> = HashMap::new();
    for entry in entries {
        match entry {
            Entry::Charge(charge) => {
                at.insert((charge.gateway, &charge.reference), all.len());
                all.push(opened(charge));
            }
            Entry::State(change) => {
                if let Some(index) = at.get(&(change.gateway, change.reference.as_str())) {
                    all[*index].fate = Fate::of_state(change.state);
                    all[*index].at = change.at;
                }
            }
            Entry::Begun(_) | Entry::Request(_) | Entry::Callback(_) | Entry::Lied(_) => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    const LINES: &str = concat!(
        r#"{"entry":"request","gateway":"paypal","operation":"create","money_moving":false,"key":"k1","attempt_id":null,"#,
        r#""transaction_id":null,"reference":null,"amount":1250,"currency":"EUR","arrived_at":"2026-11-20T10:00:00.000001Z","answer":"executed"}"#,
        "\n",
        r#"{"entry":"charge","gateway":"paypal","reference":"O1","key":"k1","attempt_id":null,"transaction_id":null,"direction":"deposit","#,
        r#""amount":1250,"currency":"EUR","result":"awaiting_customer","fingerprint":"f","at":"2026-11-20T10:00:00Z"}"#,
        "\n",
        r#"{"entry":"state","gateway":"paypal","reference":"O1","state":"approved","at":"2026-11-20T10:00:01Z"}"#,
        "\n",
        r#"{"entry":"state","gateway":"paypal","reference":"O1","state":"captured","key":"k2","at":"2026-11-20T10:00:02Z"}"#,
        "\n",
        r#"{"entry":"state","gateway":"paypal","refe"#,
    );

    fn log(text: &str) -> (std::path::PathBuf, Result<Vec<Entry>, super::super::Error>) {
        let path = std::env::temp_dir().join(format!("charges-{}.jsonl", Uuid::now_v7().simple()));
        std::fs::write(&path, text).unwrap();
        let entries = read(&path);
        std::fs::remove_file(&path).unwrap();
        (path, entries)
    }

    #[test]
    fn a_payment_stands_where_its_last_entry_left_it() {
        let entries = log(LINES).1.unwrap();
        let all = standings(&entries);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].reference.as_str(), all[0].fate), ("O1", Fate::Moved));
    }

    #[test]
    fn a_line_cut_short_by_a_crash_is_left_out_and_a_broken_one_is_an_error() {
        assert_eq!(log(LINES).1.unwrap().len(), 4);
        let broken = format!("{LINES}\n");
        assert!(matches!(log(&broken).1, Err(super::super::Error::Corrupt { line: 5, .. })));
    }

    #[test]
    fn entries_read_back_as_they_were_written() {
        let entries = log(LINES).1.unwrap();
        let text: String = entries.iter().map(|entry| serde_json::to_string(entry).unwrap() + "\n").collect();
        assert_eq!(log(&text).1.unwrap(), entries);
    }
}
