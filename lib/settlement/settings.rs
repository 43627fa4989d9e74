//! The times that govern payments at their gateways.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::decide::Policy;
use crate::domain::ids::Kind;
use crate::gateway::Gateway;
use crate::service::retry::policy;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Connections of this process for steps; each carries up to 64 at a time.
    pub connections: usize,
    /// Beyond a call's own limit, before anybody else acts on its attempt.
    pub margin_ms: u64,
    /// When a payment that a gateway may know of is asked about, each counted from the question before: `5s 15s 1m`. When it is
    /// used up, a human decides.
    pub schedule: String,
    /// Schedules of single gateways, by name.
    pub schedules: BTreeMap<String, String>,
    /// How long a gateway may take until a payment that it has got shows up when asked.
    pub settle_window_ms: u64,
    /// First and longest wait of a payment that could not be sent.
    pub retry_first_ms: u64,
    pub retry_longest_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 2,
            margin_ms: 2_000,
            schedule: policy::UNKNOWN.listed().to_owned(),
            schedules: BTreeMap::new(),
            settle_window_ms: 60_000,
            retry_first_ms: policy::NOT_SENT.first_ms(),
            retry_longest_ms: policy::NOT_SENT.longest_ms(),
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    #[error(
        "settlement.{setting}: `{word}` is not a time; write numbers with ms, s, m or h, separated by spaces, such as `5s 15s 1m`"
    )]
    NotATime { setting: String, word: String },
    #[error("settlement.{setting} is empty: without a question, a silent gateway would send every payment to review")]
    Empty { setting: String },
}

fn parse_time(word: &str) -> Option<Duration> {
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let (number, unit) = word.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

fn parse_schedule(setting: &str, text: &str) -> Result<Vec<Duration>, SettingsError> {
    let not_a_time = |word: &str| SettingsError::NotATime { setting: setting.into(), word: word.into() };
    let schedule: Vec<Duration> = text
        .split_whitespace()
        .map(|word| parse_time(word).ok_or_else(|| not_a_time(word)))
        .collect::<Result<_, _>>()?;
    if schedule.is_empty() { Err(SettingsError::Empty { setting: setting.into() }) } else { Ok(schedule) }
}

/// The settings, read: a [`Policy`] for every gateway.
#[derive(Clone, Debug)]
pub struct Policies {
    settings: Settings,
    schedule: Vec<Duration>,
    schedules: BTreeMap<String, Vec<Duration>>,
}

impl Policies {
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let schedules = settings
            .schedules
            .iter()
            .map(|(gateway, text)| Ok((gateway.clone(), parse_schedule(&format!("schedules.{gateway}"), text)?)))
            .collect::<Result<_, SettingsError>>()?;
        let schedule = parse_schedule("schedule", &settings.schedule)?;
        Ok(Self { settings: settings.clone(), schedule, schedules })
    }

    /// Half of a call's time is for getting its bytes out, the other half for the answer.
    pub fn of(&self, gateway: &dyn Gateway, kind: Kind) -> Policy {
        let millis = Duration::from_millis;
        let call_within = gateway.call_limit();
        Policy {
            send_within: call_within / 2,
            call_within,
            margin: millis(self.settings.margin_ms),
            schedule: self.schedules.get(gateway.name()).unwrap_or(&self.schedule).clone(),
            settle_window: millis(self.settings.settle_window_ms),
            key_lifetime: gateway.key_lifetime(kind),
            retry_first: millis(self.settings.retry_first_ms),
            retry_longest: millis(self.settings.retry_longest_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decide::news::Source;
    use crate::domain::decide::tests::{NOW, gateway_states, payment, policy};
    use crate::domain::decide::{Context, Decision, news};
    use crate::domain::outcome::Outcome;
    use crate::domain::transaction::Status;

    /// PayPal forgets an order three hours after its approval. The first order of the capture was dropped, as while the breaker was open.
    #[test]
    fn an_approved_deposit_is_ordered_to_be_captured_by_the_first_answer_however_many_questions_had_none() {
        let Policies { schedule, .. } = Policies::new(&Settings::default()).unwrap();
        let policy = Policy { schedule, ..policy() };
        let (approved, silent) = (Outcome::Approved { reference: "pi_1".into() }, Outcome::Unknown { why: "-".into() });
        for (unanswered, refreshed) in
            (0..9).flat_map(|unanswered| (0..9).map(move |refreshed| (unanswered, refreshed)))
        {
            let mut deposit = payment(Kind::Deposit, Status::RequiresAction);
            deposit.attempts[0].created_at = NOW;
            let mut now = NOW;
            let mut meet = |told: &Outcome, now: time::OffsetDateTime, source: Source| {
                let context = Context { now, policy: &policy, candidates: &["stripe"], gateways: &gateway_states() };
                let attempt = deposit.attempts[0].id;
                let news = news::News { attempt, source, outcome: told };
                match news::learn(&deposit, news, context) {
                    Decision::Step(change) => {
                        deposit = change.applied_to(&deposit, now);
                        (change.command.is_some(), change.due_in.unwrap())
                    }
                    Decision::LookAgain { due_in, asks, .. } => {
                        deposit.asks = asks;
                        (false, due_in.unwrap())
                    }
                    other => panic!("{other:?}"),
                }
            };
            let (ordered, mut due_in) = meet(&approved, now, Source::Callback { id: uuid::Uuid::now_v7() });
            assert!(ordered);
            for _ in 0..refreshed {
                due_in = meet(&silent, now, Source::Answer { asked_at: now, delivered: true }).1;
            }
            for _ in 0..unanswered {
                now += due_in;
                due_in = meet(&silent, now, Source::Answer { asked_at: now, delivered: true }).1;
            }
            now += due_in;
            let (ordered, due_in) = meet(&approved, now, Source::Answer { asked_at: now, delivered: true });
            assert!(ordered, "not after {unanswered} questions and {refreshed} refreshes without an answer");
            assert!(due_in <= Duration::from_secs(3_600), "{due_in:?}");
        }
    }

    #[test]
    fn the_default_schedule_asks_for_a_whole_day() {
        let policies = Policies::new(&Settings::default()).unwrap();
        let total: Duration = policies.schedule.iter().sum();
        assert!(total >= Duration::from_secs(24 * 3600), "{total:?}");
        assert_eq!(policies.schedule[..3], [5, 15, 60].map(Duration::from_secs));
    }

    #[test]
    fn a_bad_schedule_names_its_setting_and_word() {
        let settings = Settings { schedules: [("bank".into(), "5s soon".into())].into(), ..Settings::default() };
        let error = Policies::new(&settings).unwrap_err();
        assert_eq!(error, SettingsError::NotATime { setting: "schedules.bank".into(), word: "soon".into() });
        let settings = Settings { schedule: " ".into(), ..Settings::default() };
        assert!(matches!(Policies::new(&settings), Err(SettingsError::Empty { .. })));
    }
}
