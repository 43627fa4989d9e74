//! Events in any order, contradicting each other as they like, and the books that come of them against a simple model: what the owner is
//! worth follows from where the payment stands, and from nothing else.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::*;
use crate::domain::change::{Available, OperationChange, Word};
use crate::domain::decide::begin::{Begin, begin};
use crate::domain::decide::cancel::{Cancel, cancel};
use crate::domain::decide::due::{Due, fell_due};
use crate::domain::decide::news::rung;
use crate::domain::decide::resolve::{Booked, End, Ruling, resolve};
use crate::domain::event::Command;
use crate::domain::posting::{self, Account, Effect, Posting, Side};

const AMOUNT: i64 = 1_000;

#[derive(Clone, Debug)]
enum Event {
    /// A worker consumes one of the commands so far, perhaps not for the first time.
    Consume(usize),
    /// One of the calls so far is answered, perhaps long after.
    Answer(usize, usize),
    /// A gateway is asked about one of the attempts, and says this.
    Ask(usize, usize),
    Callback(usize, usize),
    Bell(usize),
    Due,
    Cancel,
    Resolve(usize, Option<i64>),
    Pass(u64),
    /// The owner spends by other payments.
    Spend(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let any = 0_usize..32;
    prop_oneof![
        4 => any.clone().prop_map(Event::Consume),
        4 => (any.clone(), any.clone()).prop_map(|(call, outcome)| Event::Answer(call, outcome)),
        4 => (any.clone(), any.clone()).prop_map(|(attempt, outcome)| Event::Ask(attempt, outcome)),
        2 => (any.clone(), any.clone()).prop_map(|(attempt, outcome)| Event::Callback(attempt, outcome)),
        1 => any.clone().prop_map(Event::Bell),
        3 => Just(Event::Due),
        1 => Just(Event::Cancel),
        2 => (any, prop::option::weighted(0.3, 0_i64..2_000)).prop_map(|(end, moved)| Event::Resolve(end, moved)),
        3 => (1_u64..200).prop_map(Event::Pass),
        1 => (1_i64..1_500).prop_map(Event::Spend),
    ]
}

struct Call {
    attempt: Uuid,
    source: Source,
    send_by: OffsetDateTime,
    is_answered: bool,
}

/// One payment of one owner, with everything around it.
struct World {
    payment: Transaction,
    now: OffsetDateTime,
    causes: HashSet<String>,
    commands: Vec<Command>,
    calls: Vec<Call>,
    entries: Vec<Posting>,
    held: i64,
    /// What the owner was worth before, less what was spent since.
    worth_before: i64,
    /// What this payment had made of the owner's worth, and held, when it came to review.
    at_review: (i64, i64),
}

fn news() -> Vec<Outcome> {
    let part = Outcome::Reversed { reference: "pi_1".into(), money: euros(400), how: Reversal::Returned };
    outcomes().into_iter().chain([part]).collect()
}

impl World {
    fn new(kind: Kind, available: i64, owed: i64) -> Self {
        let mut payment = payment(kind, Status::Created);
        payment.created_at = NOW;
        (payment.available, payment.owed, payment.version) = (available, owed, 1);
        let command = Command {
            transaction_id: payment.id,
            act: crate::domain::event::Act::Create,
            attempt: 1,
            gateway: payment.gateway.clone(),
            version: 1,
            calls: 0,
        };
        let mut world = Self {
            payment,
            now: NOW,
            causes: HashSet::new(),
            commands: vec![command],
            calls: Vec::new(),
            entries: Vec::new(),
            held: 0,
            worth_before: available - owed,
            at_review: (0, 0),
        };
        if kind == Kind::Withdrawal {
            world.book(&posting::hold(AMOUNT));
        }
        world
    }

    fn book(&mut self, postings: &[Posting]) {
        for posting in postings {
            match posting.account {
                Account::Available => self.payment.available += posting.delta(),
                Account::Held => self.held += posting.delta(),
                Account::Owed => self.payment.owed += posting.delta(),
                Account::Clearing | Account::Suspense => {}
            }
        }
        self.entries.extend(postings);
    }

    /// What settlement does with a step: nothing, if its cause was there before.
    fn commit(&mut self, change: &Change) -> TestCaseResult {
        if !self.causes.insert(change.cause.clone()) {
            return Ok(());
        }
        prop_assert!(change.from.may_become(change.to), "{:?} → {:?}", change.from, change.to);
        match change.expected_available {
            Some(Available::AtLeast(least)) => prop_assert!(self.payment.available >= least),
            Some(Available::Exactly(all)) => prop_assert_eq!(self.payment.available, all),
            None => {}
        }
        let released = change.postings.iter().any(|posting| posting.effect == Effect::Release);
        let by_human = change.word.is_some();
        prop_assert!(!released || by_human || !self.payment.is_in_doubt(), "released while in doubt");
        let called = matches!(change.operation_change, Some(OperationChange::MayBeSent { .. }));
        let sent_on = change.from != change.to && change.to == Status::Created;
        prop_assert!(!(called || sent_on) || !self.payment.is_in_doubt(), "sent while in doubt");
        if change.to == Status::Review && change.from != Status::Review {
            self.at_review = (self.worth(), self.held);
        }
        if let Some(command) = &change.command {
            self.commands.push(serde_json::from_slice(&command.payload).unwrap());
        }
        self.payment = change.applied_to(&self.payment, self.now);
        self.book(&change.postings);
        Ok(())
    }

    fn decided(&mut self, decision: &Decision) -> TestCaseResult {
        match decision {
            Decision::Step(change) => self.commit(change)?,
            Decision::LookAgain { asks, due_in, .. } => {
                (self.payment.asks, self.payment.is_due) = (*asks, due_in.is_some());
            }
            Decision::Note(news) => {
                if let Some(attempt) = self.payment.attempts.iter_mut().find(|attempt| attempt.id == news.id)
                    && attempt.state.yields_to(news.state)
                {
                    attempt.state = news.state;
                }
            }
            Decision::Nothing(_) => {}
        }
        Ok(())
    }

    fn attempt(&self, index: usize) -> Option<Uuid> {
        let attempts = &self.payment.attempts;
        (!attempts.is_empty()).then(|| attempts[index % attempts.len()].id)
    }

    fn hear(&mut self, attempt: Uuid, source: Source, outcome: &Outcome) -> TestCaseResult {
        let news = News { attempt, source, outcome };
        let decision = within(self.now, |context| learn(&self.payment, news, context));
        self.decided(&decision)
    }

    fn consume(&mut self, index: usize) -> TestCaseResult {
        let command = self.commands[index % self.commands.len()].clone();
        match within(self.now, |context| begin(&self.payment, &command, Uuid::now_v7(), context)) {
            Begin::Call { change, attempt, operation } => {
                self.commit(&change)?;
                let standing = self.payment.attempt_by_id(attempt).and_then(|attempt| attempt.operation(operation));
                let (calls, send_by) = standing.map(|standing| (standing.calls, standing.send_by)).unwrap();
                let source = Source::Call { operation, begun: self.payment.version, calls };
                self.calls.push(Call { attempt, source, send_by, is_answered: false });
                Ok(())
            }
            Begin::Instead(decision) => self.decided(&decision),
            Begin::Ask { .. } => Ok(()),
        }
    }

    fn answer(&mut self, index: usize, outcome: &Outcome) -> TestCaseResult {
        if self.calls.is_empty() {
            return Ok(());
        }
        let index = index % self.calls.len();
        self.calls[index].is_answered = true;
        let (attempt, source) = (self.calls[index].attempt, self.calls[index].source);
        self.hear(attempt, source, outcome)
    }

    fn rule(&mut self, end: usize, moved: Option<i64>) -> TestCaseResult {
        let end = [End::Succeeded, End::Failed, End::Reversed][end % 3];
        let effects: HashSet<Effect> = self.entries.iter().map(|posting| posting.effect).collect();
        let gaps = self.entries.iter().filter(|p| p.effect == Effect::Suspend && p.account == Account::Clearing);
        let booked = Booked {
            effects: effects.into_iter().collect(),
            clearing: self.of(Account::Clearing),
            suspended: gaps.map(|posting| posting.side).collect(),
            suspended_at: None,
        };
        let word = Word { operator: "ada".into(), says: "seen".into() };
        let Ok(change) = resolve(&self.payment, &booked, &Ruling { id: Uuid::now_v7(), end, moved, seen: None, word })
        else {
            return Ok(());
        };
        self.commit(&change)?;
        if let Some(moved) = moved {
            let moved = if self.payment.kind == Kind::Deposit { moved } else { -moved };
            prop_assert_eq!(self.of(Account::Clearing), moved, "what a human has seen at the gateway");
        }
        Ok(())
    }

    fn meet(&mut self, event: &Event) -> TestCaseResult {
        let outcomes = news();
        let said = |index: &usize| outcomes[index % outcomes.len()].clone();
        match event {
            Event::Consume(index) => self.consume(*index),
            Event::Answer(call, outcome) => self.answer(*call, &said(outcome)),
            Event::Ask(attempt, outcome) => match self.attempt(*attempt) {
                Some(attempt) => {
                    self.hear(attempt, Source::Answer { asked_at: self.now, delivered: true }, &said(outcome))
                }
                None => Ok(()),
            },
            Event::Callback(attempt, outcome) => match self.attempt(*attempt) {
                Some(attempt) => self.hear(attempt, Source::Callback { id: Uuid::now_v7() }, &said(outcome)),
                None => Ok(()),
            },
            Event::Bell(attempt) => {
                let Some(attempt) = self.attempt(*attempt) else { return Ok(()) };
                let decision = within(self.now, |context| rung(&self.payment, attempt, Uuid::now_v7(), context));
                self.decided(&decision)
            }
            Event::Due => match within(self.now, |context| fell_due(&self.payment, true, context)) {
                Due::Ask => Ok(()),
                Due::StepThenAsk(change) => self.commit(&change),
                Due::Decided(decision) => self.decided(&decision),
            },
            Event::Cancel => match cancel(&self.payment) {
                Cancel::Step(change) => self.commit(&change),
                Cancel::Already | Cancel::TooLate => Ok(()),
            },
            Event::Resolve(end, moved) => self.rule(*end, *moved),
            Event::Pass(seconds) => {
                self.now += Duration::from_secs(*seconds);
                Ok(())
            }
            Event::Spend(amount) => {
                let spent = self.payment.available.min(*amount);
                self.payment.available -= spent;
                self.worth_before -= spent;
                Ok(())
            }
        }
    }

    fn of(&self, account: Account) -> i64 {
        self.entries.iter().filter(|posting| posting.account == account).map(Posting::delta).sum()
    }

    /// What this payment has made of what the owner is worth.
    fn worth(&self) -> i64 {
        self.payment.available + self.held - self.payment.owed - self.worth_before
    }

    /// The model, in one place: (what the payment makes of the owner's worth, what it keeps aside).
    fn model(&self) -> (i64, i64) {
        let (gained, set_aside) = match self.payment.kind {
            Kind::Deposit => (AMOUNT, 0),
            Kind::Withdrawal => (-AMOUNT, AMOUNT),
        };
        match self.payment.status {
            Status::Succeeded => (gained, 0),
            Status::Failed | Status::Cancelled | Status::Expired | Status::Reversed => (0, 0),
            Status::Review => self.at_review,
            _ => (0, set_aside),
        }
    }

    fn check(&self) -> TestCaseResult {
        let Transaction { status, available, owed, .. } = self.payment;
        prop_assert_eq!((self.worth(), self.held), self.model(), "at {:?}: {:?}", status, self.entries);
        prop_assert!(available >= 0 && owed >= 0 && self.held >= 0);
        // Money is conserved: what we owe our users and nobody is what the gateway has for us.
        prop_assert_eq!(self.worth() + self.of(Account::Suspense), self.of(Account::Clearing));
        let sides: HashSet<_> = self.entries.iter().map(|p| (p.effect, p.account, p.side)).collect();
        prop_assert_eq!(sides.len(), self.entries.len(), "an effect twice: {:?}", self.entries);
        let ends = |p: &&Posting| {
            p.account == Account::Held && p.side == Side::Debit && matches!(p.effect, Effect::Post | Effect::Release)
        };
        prop_assert!(self.entries.iter().filter(ends).count() <= 1, "a hold ended twice");
        Ok(())
    }

    /// A hold is released only by a gateway's word, a human's, or while nothing can be on its way.
    fn check_release(&self, event: &Event) -> TestCaseResult {
        let outcomes = news();
        let final_word = match event {
            Event::Answer(_, outcome) | Event::Ask(_, outcome) => {
                matches!(outcomes[outcome % outcomes.len()], Outcome::Declined { .. } | Outcome::Expired { .. })
            }
            Event::Resolve(..) => true,
            _ => false,
        };
        let under_way = self.calls.iter().any(|call| !call.is_answered && self.now < call.send_by);
        prop_assert!(final_word || !under_way, "released under a live call by {event:?}");
        prop_assert!(!matches!(event, Event::Callback(..) | Event::Bell(_)), "released by {event:?}");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_happens_in_whatever_order_the_books_say_what_the_status_says(
        withdrawal in any::<bool>(),
        available in 0_i64..2_500,
        owed in prop::sample::select(vec![0, 0, 400, 1_700]),
        events in prop::collection::vec(event(), 1..60),
    ) {
        let kind = if withdrawal { Kind::Withdrawal } else { Kind::Deposit };
        let mut world = World::new(kind, if withdrawal { available + AMOUNT } else { available }, owed);
        let released = |world: &World| world.entries.iter().any(|posting| posting.effect == Effect::Release);
        world.check()?;
        for event in &events {
            let before = released(&world);
            world.meet(event)?;
            world.check()?;
            if released(&world) && !before {
                world.check_release(event)?;
            }
        }
    }
}
