//! A gateway that says what the test tells it to: for tests of what follows from an answer. How answers come about is tested against the
//! simulator.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use payfleet::domain::destination::DestinationKind;
use payfleet::domain::ids::Kind;
use payfleet::domain::outcome::{Notice, Outcome};
use payfleet::gateway::{CallbackRefusal, Deadline, Gateway, Payment};

/// What a gateway was asked to do: the call and the key of the attempt.
pub type Called = (&'static str, uuid::Uuid);

#[derive(Clone, Default)]
pub struct Script {
    answers: Arc<Mutex<VecDeque<Outcome>>>,
    pub calls: Arc<Mutex<Vec<Called>>>,
    /// The payments that it was asked about, as they were described to it.
    pub asked: Arc<Mutex<Vec<Payment>>>,
}

impl Script {
    pub fn then(&self, outcome: Outcome) -> &Self {
        self.answers.lock().unwrap().push_back(outcome);
        self
    }

    fn answer(&self, call: &'static str, payment: &Payment) -> Outcome {
        self.calls.lock().unwrap().push((call, payment.attempt_id));
        let next = self.answers.lock().unwrap().pop_front();
        next.unwrap_or(Outcome::Unknown { why: "the script has ended".into() })
    }
}

pub struct Scripted {
    pub name: &'static str,
    pub script: Script,
}

#[async_trait]
impl Gateway for Scripted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn pays_to(&self) -> &'static [DestinationKind] {
        &[DestinationKind::Iban, DestinationKind::AccountNumber, DestinationKind::Email, DestinationKind::Token]
    }

    fn call_limit(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn key_lifetime(&self, _kind: Kind) -> Duration {
        Duration::from_secs(24 * 3600)
    }

    async fn create(&self, payment: &Payment, _deadline: Deadline) -> Outcome {
        self.script.answer("create", payment)
    }

    async fn capture(&self, payment: &Payment, _deadline: Deadline) -> Outcome {
        self.script.answer("capture", payment)
    }

    async fn ask(&self, payment: &Payment, _deadline: Deadline) -> Outcome {
        self.script.asked.lock().unwrap().push(payment.clone());
        self.script.answer("ask", payment)
    }

    fn read_callback(
        &self,
        _headers: &http::HeaderMap,
        _body: &bytes::Bytes,
        _now: time::OffsetDateTime,
    ) -> Result<Notice, CallbackRefusal> {
        Err(CallbackRefusal::Unsigned("the script sends no callbacks"))
    }
}
