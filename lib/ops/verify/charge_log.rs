//! The simulator's log, read into what the checker asks of it.
//!
//! The checker knows the log by its lines only, not by the simulator's code: neither side believes the other's books.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::ids::{Kind, Operation};

#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the charge log cannot be read: {0}")]
    File(#[from] std::io::Error),
    #[error("line {line} of the charge log cannot be understood: {why}")]
    Line { line: usize, why: serde_json::Error },
    #[error("line {line} of the charge log changes {reference} of {gateway}, which no line before it opened")]
    Unopened { line: usize, gateway: String, reference: String },
}

/// A line; fields that the checker has no question about are passed over, kinds of line that it does not know are not.
#[derive(Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
enum Line {
    Begun {
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    Request {
        gateway: String,
        /// What it wants done; None when it only asks.
        operation: Option<String>,
        money_moving: bool,
        key: Option<String>,
        attempt_id: Option<Uuid>,
        #[serde(with = "time::serde::rfc3339")]
        arrived_at: OffsetDateTime,
        answer: String,
    },
    Charge {
        gateway: String,
        reference: String,
        attempt_id: Option<Uuid>,
        direction: Kind,
        amount: i64,
        currency: String,
        result: String,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    State {
        gateway: String,
        reference: String,
        state: String,
    },
    Callback {
        gateway: String,
        event_id: String,
        state: String,
    },
    /// The gateway said something that is not so, or nothing at all. Who does not say of which payment, means all of them.
    Lied {
        gateway: String,
        #[serde(default)]
        key: Option<String>,
        #[serde(default)]
        attempt_id: Option<Uuid>,
        kind: String,
    },
}

/// A request that may have moved money.
#[derive(Clone, Debug)]
pub struct Moving {
    pub arrived_at: OffsetDateTime,
    pub gateway: String,
    pub key: Option<String>,
}

/// Whether the money of a payment on a gateway's books has moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    NotMoved,
    Moved,
    TakenBack,
}

#[derive(Clone, Debug)]
pub struct Charge {
    pub gateway: String,
    pub reference: String,
    pub attempt_id: Option<Uuid>,
    pub kind: Kind,
    pub amount: i64,
    pub currency: String,
    pub fate: Fate,
    /// It has, at least once, ended without success.
    pub has_ended: bool,
    /// Nobody has approved it yet.
    pub awaits_customer: bool,
}

impl Charge {
    /// It can still move money, and never was said to have ended.
    pub fn is_open(&self) -> bool {
        self.fate == Fate::NotMoved && !self.has_ended
    }

    fn enters(&mut self, state: &str) -> bool {
        let Some(fate) = fate_of(state) else { return false };
        self.fate = fate;
        self.has_ended |= is_denial(state);
        self.awaits_customer = state == "awaiting_customer";
        true
    }
}

#[derive(Default, Debug)]
pub struct ChargeLog {
    pub begins_at: Option<OffsetDateTime>,
    pub moving: Vec<Moving>,
    pub charges: Vec<Charge>,
    /// Attempts whose last request was never answered, or with a server error or what nobody can read.
    pub unanswered: HashSet<Uuid>,
    /// Attempts of which it tells: something was ordered for them, or put onto a gateway's books.
    pub told: HashSet<Uuid>,
    /// Attempts whose creation a gateway has refused, at least once.
    pub refused: HashSet<Uuid>,
    /// Events that gateways meant to tell of, as (gateway, event id).
    pub events: HashSet<(String, String)>,
    /// Those for which somebody thanked with 2xx.
    pub thanked_for: HashSet<(String, String)>,
    /// Attempts of which a gateway told another amount, another currency or another end than its books have.
    pub contradicted: HashSet<Uuid>,
    /// Attempts of which a gateway sent validly signed callbacks that no event on its books explains.
    pub lying_callbacks: HashSet<Uuid>,
    /// Gateways that answered nobody for a while.
    pub silent: HashSet<String>,
}

/// Why a line cannot be taken.
enum Refused {
    Word(String),
    Unopened { gateway: String, reference: String },
}

impl ChargeLog {
    pub fn read(path: &Path) -> Result<Self, Unreadable> {
        let mut lines = BufReader::new(std::fs::File::open(path)?);
        let mut log = Self::default();
        let mut charge_of: HashMap<(String, String), usize> = HashMap::new();
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let read = lines.read_until(b'\n', &mut text)?;
            // An unfinished last line: written while we read, or cut off by a crash. Nobody was answered on the strength of it.
            if read == 0 || text.last() != Some(&b'\n') {
                break;
            }
            let entry = serde_json::from_slice(&text).map_err(|why| Unreadable::Line { line, why })?;
            log.take(entry, &mut charge_of).map_err(|refused| match refused {
                Refused::Word(word) => {
                    let why = serde::de::Error::custom(format_args!("`{word}` is not a state of a charge"));
                    Unreadable::Line { line, why }
                }
                Refused::Unopened { gateway, reference } => Unreadable::Unopened { line, gateway, reference },
            })?;
        }
        Ok(log)
    }

    fn take(&mut self, line: Line, charge_of: &mut HashMap<(String, String), usize>) -> Result<(), Refused> {
        match line {
            Line::Begun { at } => drop(self.begins_at.get_or_insert(at)),
            Line::Request { gateway, operation, money_moving, key, attempt_id, arrived_at, answer } => {
                self.begins_at.get_or_insert(arrived_at);
                if operation.is_some() {
                    let by_key = || Some(Operation::of_key(key.as_deref()?)?.0);
                    self.told.extend(attempt_id.or_else(by_key));
                }
                if money_moving {
                    self.moving.push(Moving { arrived_at, gateway, key });
                }
                let silent = matches!(
                    answer.as_str(),
                    "lost_after" | "lost_before" | "failed_after" | "failed_before" | "garbled"
                );
                let creates = operation.as_deref() == Some(Operation::Create.as_str());
                if creates && matches!(answer.as_str(), "refused" | "key_misused") {
                    self.refused.extend(attempt_id);
                }
                match attempt_id {
                    Some(attempt) if silent => drop(self.unanswered.insert(attempt)),
                    Some(attempt) => drop(self.unanswered.remove(&attempt)),
                    None => {}
                }
            }
            Line::Charge { gateway, reference, attempt_id, direction, amount, currency, result, at } => {
                self.begins_at.get_or_insert(at);
                self.told.extend(attempt_id);
                charge_of.insert((gateway.clone(), reference.clone()), self.charges.len());
                let (fate, has_ended, awaits_customer, kind) = (Fate::NotMoved, false, false, direction);
                let opened =
                    Charge { gateway, reference, attempt_id, kind, amount, currency, fate, has_ended, awaits_customer };
                self.charges.push(opened);
                if !self.charges.last_mut().is_some_and(|charge| charge.enters(&result)) {
                    return Err(Refused::Word(result));
                }
            }
            Line::State { gateway, reference, state } => {
                let place = (gateway, reference);
                let Some(charge) = charge_of.get(&place) else {
                    let (gateway, reference) = place;
                    return Err(Refused::Unopened { gateway, reference });
                };
                if !self.charges[*charge].enters(&state) {
                    return Err(Refused::Word(state));
                }
            }
            Line::Callback { gateway, event_id, state } => {
                let event = (gateway, event_id);
                if state == "delivered" {
                    self.thanked_for.insert(event.clone());
                }
                self.events.insert(event);
            }
            Line::Lied { gateway, key, attempt_id, kind } => {
                let by_key = || Some(Operation::of_key(key.as_deref()?)?.0);
                self.lied(gateway, attempt_id.or_else(by_key), &kind);
            }
        }
        Ok(())
    }

    /// What each attempt has on its gateway's books.
    pub fn of_attempts(&self) -> HashMap<Uuid, Vec<&Charge>> {
        let mut charges: HashMap<Uuid, Vec<&Charge>> = HashMap::new();
        for (attempt, charge) in self.charges.iter().filter_map(|charge| Some((charge.attempt_id?, charge))) {
            charges.entry(attempt).or_default().push(charge);
        }
        charges
    }

    /// Lies that do not touch what is believed of a payment (late, doubled, forged or missing callbacks) excuse nothing.
    fn lied(&mut self, gateway: String, attempt: Option<Uuid>, kind: &str) {
        match (kind, attempt) {
            ("wrong_amount" | "wrong_currency" | "callback_contradicting", Some(attempt)) => {
                self.contradicted.insert(attempt);
                self.lying_callbacks.extend((kind == "callback_contradicting").then_some(attempt));
            }
            ("down" | "frozen" | "flapping", Some(attempt)) => drop(self.unanswered.insert(attempt)),
            ("down" | "frozen" | "flapping", None) => drop(self.silent.insert(gateway)),
            _ => {}
        }
    }
}

/// It is over, and nothing was moved.
fn is_denial(state: &str) -> bool {
    matches!(state, "declined" | "failed" | "cancelled" | "expired")
}

fn fate_of(state: &str) -> Option<Fate> {
    match state {
        "declined" | "pending" | "awaiting_customer" | "approved" | "capturing" | "cancelled" | "expired"
        | "failed" => Some(Fate::NotMoved),
        "succeeded" | "captured" => Some(Fate::Moved),
        "reversed" => Some(Fate::TakenBack),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ChargeLog, Unreadable> {
        let path = std::env::temp_dir().join(format!("payfleet-charge-log-{}", Uuid::now_v7()));
        std::fs::write(&path, text).unwrap();
        let log = ChargeLog::read(&path);
        std::fs::remove_file(&path).unwrap();
        log
    }

    const CHARGE: &str = concat!(
        r#"{"entry":"charge","gateway":"paypal","reference":"O1","key":"k1","attempt_id":"00000000-0000-0000-0000-000000000001","#,
        r#""direction":"deposit","amount":1250,"currency":"EUR","result":"awaiting_customer","fingerprint":"f","at":"2026-11-20T10:00:00Z"}"#
    );

    fn state(name: &str) -> String {
        format!(
            r#"{{"entry":"state","gateway":"paypal","reference":"O1","state":"{name}","at":"2026-11-20T10:00:02Z"}}"#
        )
    }

    fn after(states: &[&str]) -> Charge {
        let lines: Vec<String> = states.iter().map(|name| state(name)).collect();
        read(&format!("{CHARGE}\n{}\n", lines.join("\n"))).unwrap().charges.remove(0)
    }

    #[test]
    fn money_has_moved_once_it_was_captured_and_until_it_is_taken_back() {
        assert_eq!(read(&format!("{CHARGE}\n")).unwrap().charges[0].fate, Fate::NotMoved);
        assert_eq!(after(&["approved", "capturing"]).fate, Fate::NotMoved);
        assert_eq!(after(&["approved", "captured"]).fate, Fate::Moved);
        assert_eq!(after(&["captured", "reversed"]).fate, Fate::TakenBack);
    }

    #[test]
    fn a_request_that_concerns_no_payment_counts_for_its_arrival_only() {
        let line = |answer: &str| {
            format!(
                r#"{{"entry":"request","gateway":"paypal","operation":null,"money_moving":false,"key":null,"attempt_id":null,"transaction_id":null,"reference":null,"amount":null,"currency":null,"arrived_at":"2026-11-20T09:59:59.000001Z","answer":"{answer}"}}"#
            )
        };
        for answer in ["unauthenticated", "unreadable", "token_issued"] {
            let log = read(&format!("{}\n{CHARGE}\n", line(answer))).unwrap();
            assert_eq!((log.moving.len(), log.unanswered.len(), log.charges.len()), (0, 0, 1), "{answer}");
            assert_eq!(log.begins_at.unwrap().second(), 59, "{answer}");
        }
    }

    #[test]
    fn a_charge_is_open_until_it_moves_money_or_has_once_ended_whatever_is_said_of_it_later() {
        let open = |states: &[&str]| (after(states).is_open(), after(states).awaits_customer);
        assert_eq!(open(&["pending", "awaiting_customer"]), (true, true));
        assert_eq!(open(&["approved"]), (true, false));
        assert_eq!(open(&["approved", "captured"]), (false, false));
        for end in ["declined", "failed", "cancelled", "expired"] {
            assert_eq!(open(&[end]), (false, false), "{end}");
            assert_eq!(open(&[end, "approved"]), (false, false), "{end}");
        }
    }

    #[test]
    fn only_the_refusal_of_a_creation_denies_an_attempt() {
        let refused = |operation: &str| {
            let line = format!(
                r#"{{"entry":"request","gateway":"paypal","operation":"{operation}","money_moving":true,"key":null,"attempt_id":"00000000-0000-0000-0000-000000000001","arrived_at":"2026-11-20T09:59:59Z","answer":"refused"}}"#
            );
            read(&format!("{line}\n")).unwrap().refused.contains(&Uuid::from_u128(1))
        };
        assert!(refused("create"));
        assert!(!refused("capture"));
    }

    #[test]
    fn a_lie_concerns_its_payment_or_without_a_key_its_gateway() {
        let attempt = Uuid::from_u128(1);
        let lied = |kind: &str, key: &str| {
            read(&format!(
                r#"{{"entry":"lied","gateway":"bank","kind":"{kind}","key":{key},"at":"2026-11-20T10:00:00Z"}}
"#
            ))
            .unwrap()
        };
        let key = format!("\"{}\"", Operation::Create.key(attempt));
        for kind in ["wrong_amount", "wrong_currency", "callback_contradicting"] {
            let log = lied(kind, &key);
            assert_eq!(log.contradicted, [attempt].into(), "{kind}");
            assert_eq!(log.lying_callbacks.len(), usize::from(kind == "callback_contradicting"), "{kind}");
        }
        assert_eq!(lied("frozen", &key).unanswered, [attempt].into());
        assert_eq!(lied("down", "null").silent, ["bank".to_owned()].into());
        for harmless in ["callback_duplicate", "callback_forged", "something_new"] {
            let log = lied(harmless, &key);
            assert!(log.contradicted.is_empty() && log.lying_callbacks.is_empty() && log.unanswered.is_empty());
        }
    }

    #[test]
    fn a_lie_changes_no_charge_and_an_answer_that_was_garbled_is_none() {
        let lied = r#"{"entry":"lied","gateway":"paypal","key":"k1","attempt_id":null,"reference":"O1","kind":"wrong_amount","told_amount":7,"told_currency":"EUR","at":"2026-11-20T10:00:00Z"}"#;
        assert_eq!(read(&format!("{CHARGE}\n{lied}\n")).unwrap().charges[0].amount, 1_250);
        let garbled = r#"{"entry":"request","gateway":"paypal","operation":null,"money_moving":false,"key":null,"attempt_id":"00000000-0000-0000-0000-000000000001","transaction_id":null,"reference":null,"amount":null,"currency":null,"arrived_at":"2026-11-20T09:59:59.000001Z","answer":"garbled"}"#;
        assert_eq!(read(&format!("{CHARGE}\n{garbled}\n")).unwrap().unanswered.len(), 1);
    }

    #[test]
    fn an_unfinished_last_line_is_not_there_yet() {
        assert_eq!(read(&format!("{CHARGE}\n{}", &CHARGE[..40])).unwrap().charges.len(), 1);
    }

    #[test]
    fn a_line_that_cannot_be_understood_is_not_passed_over() {
        for bad in ["{}", &state("vanished")] {
            assert!(matches!(read(&format!("{CHARGE}\n{bad}\n{CHARGE}\n")), Err(Unreadable::Line { line: 2, .. })));
        }
    }

    #[test]
    fn a_change_of_something_that_was_never_opened_is_not_passed_over() {
        let unopened = format!("{CHARGE}\n{}\n", state("captured").replace("O1", "O2"));
        assert!(matches!(read(&unopened), Err(Unreadable::Unopened { line: 2, .. })));
    }
}
