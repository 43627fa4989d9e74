//! An attempt that was given up, and is rung about: nothing is sent elsewhere, and no hold released, before its gateway has told.

use super::ended::{ENDED, page, reference};
use super::outdated::{after_a_bell, asked_after};
use super::*;
use crate::domain::change::Word;
use crate::domain::decide::begin::{Begin, begin};
use crate::domain::decide::due::{Due, fell_due};
use crate::domain::decide::news::rung;
use crate::domain::decide::resolve::{Booked, End, Ruling, Unresolvable, resolve};
use crate::domain::event::{Act, Command};
use crate::domain::reason::{RESOLVED, Reason};

const LIVE: [Status; 4] = [Status::Submitting, Status::AwaitingGateway, Status::RequiresAction, Status::Unknown];

/// A payment whose first attempt was refused; the second, at another gateway, is its current one.
fn gone_on(kind: Kind, status: Status) -> Transaction {
    let mut transaction = payment(kind, status);
    (transaction.attempt, transaction.gateway) = (2, "bank".into());
    let current = Attempt { id: Uuid::now_v7(), number: 2, gateway: "bank".into(), ..transaction.attempts[0].clone() };
    transaction.attempts.push(current);
    transaction.attempts[0].state = AttemptState::Rejected;
    transaction
}

/// A payment that was refused once, and waits to be sent again.
fn refused_once(kind: Kind) -> Transaction {
    let mut transaction = payment(kind, Status::Unknown);
    transaction.status = Status::Created;
    transaction.attempts[0].state = AttemptState::Later;
    transaction
}

fn of_the_second(now: OffsetDateTime, transaction: &Transaction, source: Source, outcome: &Outcome) -> Decision {
    let attempt = transaction.attempts[1].id;
    within(now, |context| learn(transaction, News { attempt, source, outcome }, context))
}

fn told_of_the_second(now: OffsetDateTime, transaction: &Transaction, outcome: &Outcome) -> Decision {
    of_the_second(now, transaction, Source::Answer { asked_at: now, delivered: true }, outcome)
}

fn seconds(seconds: u64) -> OffsetDateTime {
    NOW + Duration::from_secs(seconds)
}

#[test]
fn a_payment_that_was_refused_and_is_rung_about_is_sent_nowhere_and_ends_not_before_its_gateway_has_told() {
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        let waiting = refused_once(kind);
        let rung = after_a_bell(&waiting);
        assert_eq!((rung.status, rung.attempt, rung.gateway.as_str()), (Status::Unknown, 1, "stripe"));
        assert_eq!(rung.attempts[0].state, AttemptState::Unknown);
        for command in [7, 8].map(|version| Command {
            transaction_id: rung.id,
            act: Act::Create,
            attempt: 2,
            gateway: "stripe".into(),
            version,
            calls: 0,
        }) {
            let begun = within(NOW, |context| begin(&rung, &command, Uuid::now_v7(), context));
            assert!(matches!(begun, Begin::Instead(Decision::Nothing(_))), "{begun:?}");
        }
        assert_eq!(within(rung.submit_until, |context| fell_due(&rung, true, context)), Due::Ask);
        let at_its_end = within(waiting.submit_until, |context| fell_due(&waiting, true, context));
        let Due::Decided(not_sent) = at_its_end else { panic!("{at_its_end:?}") };
        assert_eq!(step(&not_sent).to, Status::Failed, "without a bell");
        assert_eq!(step(&answered_at(seconds(1), &rung, &succeeded())).to, Status::Succeeded);
        assert_eq!(step(&answered_at(seconds(1), &rung, &declined())).to, Status::Failed);
    }
}

#[test]
fn whatever_says_that_a_refused_attempt_is_on_the_books_puts_it_in_doubt() {
    let by_callback = || Source::Callback { id: Uuid::now_v7() };
    let approved = Outcome::Approved { reference: reference() };
    let back = Outcome::Reversed { reference: reference(), money: euros(1_000), how: Reversal::Returned };
    let accepted = Outcome::Accepted { reference: reference() };
    for (source, said) in [
        (by_callback(), &accepted),
        (ANSWER, &accepted),
        (by_callback(), &page()),
        (by_callback(), &approved),
        (by_callback(), &back),
    ] {
        let waiting = refused_once(Kind::Deposit);
        let change = step(&told(&waiting, source, said)).clone();
        assert_eq!((change.to, change.attempt), (Status::Unknown, 1), "{} by {source:?}", said.name());
        for status in LIVE.into_iter().chain(ENDED) {
            let gone_on = gone_on(Kind::Deposit, status);
            let after = step(&told(&gone_on, source, said)).applied_to(&gone_on, NOW);
            assert_eq!((after.status, after.doubted().count()), (status, 1), "{} by {source:?}", said.name());
            assert!(after.is_due && !after.contradicted, "{} at {status:?}", said.name());
        }
    }
}

/// Its last attempt was refused, so it has failed; and then its gateway says that it has the payment.
#[test]
fn a_failed_payment_whose_refused_attempt_is_said_to_be_on_the_books_is_asked_about() {
    let approved = Outcome::Approved { reference: reference() };
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        for said in [&Outcome::Accepted { reference: reference() }, &approved] {
            let mut failed = payment(kind, Status::Failed);
            failed.attempts[0].state = AttemptState::Rejected;
            let change = step(&told(&failed, Source::Callback { id: Uuid::now_v7() }, said)).clone();
            assert!(change.command.is_some() && change.due_in.is_some(), "{} of a {}", said.name(), kind.as_str());
            let rung = change.applied_to(&failed, NOW);
            assert_eq!((rung.status, rung.attempts[0].state), (Status::Failed, AttemptState::Unknown));
            let paid = step(&answered_at(seconds(1), &rung, &succeeded())).to;
            assert_eq!(paid, if kind == Kind::Deposit { Status::Succeeded } else { Status::Review });
            let open = answered_at(seconds(1), &rung, said);
            assert!(step(&open).due_in.is_some(), "on the books still, it is asked about again: {open:?}");
        }
    }
}

/// The page's time was over by our clock alone: the gateway takes the customer's money there all the same.
#[test]
fn an_attempt_whose_page_was_left_for_another_in_doubt_is_in_doubt_once_its_gateway_rings() {
    let mut waiting = after_a_bell(&gone_on(Kind::Deposit, Status::RequiresAction));
    waiting.next_action_expires_at = Some(seconds(1));
    let back = step(&told_of_the_second(seconds(2), &waiting, &page())).applied_to(&waiting, seconds(2));
    assert_eq!((back.status, back.attempt, back.attempts[1].state), (Status::Unknown, 1, AttemptState::Expired));
    let left = back.attempts[1].id;
    let stray = Source::Answer { asked_at: seconds(1), delivered: true };
    let stray = of_the_second(seconds(3), &back, stray, &page());
    assert!(matches!(stray, Decision::Nothing(_)), "asked before it was left: {stray:?}");
    let bell = within(seconds(3), |context| rung(&back, left, Uuid::now_v7(), context));
    let doubted = step(&bell).applied_to(&back, seconds(3));
    assert_eq!(doubted.doubted().map(|attempt| attempt.number).collect::<Vec<_>>(), [2]);
    let next = step(&answered_at(seconds(4), &doubted, &declined())).applied_to(&doubted, seconds(4));
    assert_eq!((next.status, next.attempt), (Status::Unknown, 2), "it does not end before that gateway has told");
    let paid = step(&told_of_the_second(seconds(5), &next, &succeeded())).clone();
    assert_eq!((paid.to, paid.gateway.as_str()), (Status::Succeeded, "bank"));
}

/// Two pages that their gateways keep open for ever, both over by our clock.
#[test]
fn a_payment_does_not_go_to_and_fro_between_two_pages_whose_time_is_over() {
    let open =
        Outcome::NeedsCustomer { reference: reference(), redirect_url: "https://pay".into(), expires_at: Some(NOW) };
    let mut payment = after_a_bell(&gone_on(Kind::Deposit, Status::RequiresAction));
    payment.next_action_expires_at = Some(NOW);
    let mut now = NOW;
    for _ in 0..20 {
        now += Duration::from_secs(100);
        let attempt = payment.current_attempt().unwrap().id;
        let source = Source::Answer { asked_at: now, delivered: true };
        let told = within(now, |context| learn(&payment, News { attempt, source, outcome: &open }, context));
        payment = step(&told).applied_to(&payment, now);
        if payment.status.is_final() {
            return assert_eq!(payment.status, Status::Expired);
        }
    }
    panic!("still {:?} by attempt {}", payment.status, payment.attempt);
}

#[test]
fn a_payment_returns_to_the_attempt_in_doubt_instead_of_going_elsewhere_or_ending_without_success() {
    let create_answered = Source::Call { operation: Operation::Create, begun: 8, calls: 1 };
    let asked = Source::Answer { asked_at: seconds(2), delivered: true };
    let later = Outcome::Later { retry_after_ms: None, code: "429".into() };
    let rejected = Outcome::Rejected { code: "bad".into(), message: "No.".into() };
    let over = Outcome::Expired { reference: None };
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        for (status, source, outcome, state) in [
            (Status::Submitting, create_answered, &later, AttemptState::Later),
            (Status::Submitting, create_answered, &rejected, AttemptState::Rejected),
            (Status::Submitting, create_answered, &declined(), AttemptState::Declined),
            (Status::AwaitingGateway, asked, &declined(), AttemptState::Declined),
            (Status::RequiresAction, asked, &over, AttemptState::Expired),
            (Status::Unknown, asked, &declined(), AttemptState::Declined),
        ] {
            let rung = after_a_bell(&gone_on(kind, status));
            let change = step(&of_the_second(seconds(2), &rung, source, outcome)).clone();
            let what = format!("{} of a {} at {status:?}", outcome.name(), kind.as_str());
            assert_eq!((change.to, change.attempt, change.gateway.as_str()), (Status::Unknown, 1, "stripe"), "{what}");
            assert!(change.postings.is_empty() && change.command.is_none() && change.due_in.is_some(), "{what}");
            let back = change.applied_to(&rung, seconds(2));
            assert_eq!((back.attempts[1].state, back.doubted().count()), (state, 0), "{what}");
            // Only now that neither gateway has anything.
            let ended = answered_at(seconds(3), &back, &declined());
            assert_eq!((step(&ended).to, step(&ended).attempt), (Status::Failed, 1), "{what}");
            let paid = answered_at(seconds(3), &back, &succeeded());
            assert_eq!((step(&paid).to, step(&paid).gateway.as_str()), (Status::Succeeded, "stripe"), "{what}");
        }
    }
}

/// Sent again, it would be paid behind what another gateway has refused since.
#[test]
fn a_payment_that_has_returned_is_not_sent_again() {
    let rung = after_a_bell(&gone_on(Kind::Deposit, Status::AwaitingGateway));
    let mut back = step(&told_of_the_second(seconds(2), &rung, &declined())).applied_to(&rung, seconds(2));
    let mut now = seconds(100);
    while back.status == Status::Unknown {
        let answered = answered_at(now, &back, &Outcome::NotFound);
        assert!(step(&answered).command.is_none(), "{answered:?}");
        back = step(&answered).applied_to(&back, now);
        now += Duration::from_secs(100);
    }
    assert_eq!((back.status, back.substatus), (Status::Failed, Some(Substatus::NotExecuted)));
    let once = after_a_bell(&refused_once(Kind::Deposit));
    let again = answered_at(seconds(100), &once, &Outcome::NotFound);
    assert!(step(&again).command.is_some(), "one that has not gone on is");
}

#[test]
fn a_refusal_of_a_call_during_which_somebody_rang_is_not_believed() {
    let refusals = [
        Outcome::Later { retry_after_ms: None, code: "429".into() },
        Outcome::Rejected { code: "bad".into(), message: "No.".into() },
        Outcome::Unreachable { why: "refused".into() },
    ];
    for outcome in refusals {
        let called = payment(Kind::Withdrawal, Status::Submitting);
        let source = Source::Call { operation: Operation::Create, begun: 7, calls: 1 };
        assert_eq!(step(&told(&called, source, &outcome)).to, Status::Created, "{}", outcome.name());
        let rung = after_a_bell(&called);
        assert_eq!(step(&told(&rung, source, &outcome)).to, Status::Unknown, "{}", outcome.name());
    }
}

#[test]
fn no_callback_ends_a_doubt() {
    let over = Outcome::Expired { reference: None };
    for status in LIVE.into_iter().chain(ENDED) {
        let rung = after_a_bell(&gone_on(Kind::Deposit, status));
        for outcome in [declined(), over.clone(), Outcome::Accepted { reference: reference() }] {
            let source = Source::Callback { id: Uuid::now_v7() };
            let after = match told(&rung, source, &outcome) {
                Decision::Step(change) => change.applied_to(&rung, NOW),
                Decision::Nothing(_) => rung.clone(),
                other => panic!("{other:?}"),
            };
            assert_eq!(after.doubted().count(), 1, "{} at {status:?}", outcome.name());
        }
    }
}

#[test]
fn a_payment_does_not_rest_while_an_attempt_that_was_given_up_is_in_doubt() {
    let silent = Outcome::Unknown { why: "time-out".into() };
    for status in LIVE {
        let rung = after_a_bell(&gone_on(Kind::Deposit, status));
        assert_eq!(rung.doubted().map(|attempt| attempt.number).collect::<Vec<_>>(), [1], "{status:?}");
        assert!(matches!(asked_after(1, &rung, &silent), Decision::Nothing(_)), "{status:?}");
        let paid = told_of_the_second(seconds(2), &rung, &succeeded());
        assert!(step(&paid).due_in.is_some(), "{status:?}");
        let paid = step(&paid).applied_to(&rung, seconds(2));
        let again = told_of_the_second(seconds(3), &paid, &succeeded());
        assert!(matches!(again, Decision::LookAgain { due_in: Some(_), asks: 0, .. }), "{status:?}: {again:?}");
        // The current gateway's silence is no reason to rest either.
        let mut all_asked = paid.clone();
        all_asked.asks = 99;
        let unheard = told_of_the_second(seconds(100_000), &all_asked, &silent);
        assert!(matches!(unheard, Decision::LookAgain { due_in: Some(_), .. }), "{status:?}: {unheard:?}");
        let mut told = paid;
        told.attempts[0].state = AttemptState::NotExecuted;
        let at_last = told_of_the_second(seconds(4), &told, &succeeded());
        assert!(matches!(at_last, Decision::LookAgain { due_in: None, .. }), "{status:?}: {at_last:?}");
    }
}

#[test]
fn a_bell_about_an_attempt_that_was_given_up_is_a_human_s_only_if_it_leads_to_no_answer() {
    let silent = Outcome::Unknown { why: "time-out".into() };
    let late = seconds(100_000);
    for status in ENDED {
        let mut rung = after_a_bell(&gone_on(Kind::Deposit, status));
        let unheard = asked_after(1, &rung, &silent);
        assert!(matches!(unheard, Decision::LookAgain { due_in: Some(_), .. }), "{status:?}: {unheard:?}");
        let too_soon = asked_after(59, &rung, &Outcome::NotFound);
        assert!(matches!(too_soon, Decision::LookAgain { due_in: Some(_), .. }), "{status:?}: {too_soon:?}");
        let back = Outcome::Reversed { reference: reference(), money: euros(1_000), how: Reversal::Chargeback };
        let told = [declined(), Outcome::Expired { reference: None }, Outcome::NotFound, back];
        for outcome in told {
            let before = asked_after(-1, &rung, &outcome);
            assert!(matches!(before, Decision::Nothing(_)), "{} at {status:?}: {before:?}", outcome.name());
            let told = step(&asked_after(60, &rung, &outcome)).applied_to(&rung, seconds(61));
            assert_eq!((told.status, told.doubted().count()), (status, 0), "{}", outcome.name());
            // A copy of the order to ask, and no answer this time.
            assert!(matches!(asked_after(2, &told, &silent), Decision::Nothing(_)), "{status:?}");
        }
        assert_eq!(step(&asked_after(1, &rung, &succeeded())).to, Status::Review, "{status:?}");
        rung.asks = 99;
        let last = answered_at(late, &rung, &silent);
        let reason = step(&last).reason.as_ref().map(|reason| reason.code.as_str());
        assert_eq!((step(&last).to, reason), (Status::Review, Some("bell_unanswered")), "{status:?}");
    }
}

/// On its gateway's books it may be carried out at any time: then two have charged.
#[test]
fn an_attempt_in_doubt_that_stands_open_at_its_gateway_is_asked_about_to_the_end_of_the_schedule() {
    for status in ENDED {
        let mut rung = after_a_bell(&gone_on(Kind::Deposit, status));
        for outcome in [Outcome::Accepted { reference: reference() }, page()] {
            let open = step(&answered_at(seconds(2), &rung, &outcome)).clone();
            assert_eq!(
                (open.to, open.asks, open.due_in.is_some()),
                (status, rung.asks + 1, true),
                "{}",
                outcome.name()
            );
            rung = open.applied_to(&rung, seconds(2));
            assert_eq!(rung.doubted().count(), 1, "{}", outcome.name());
        }
        rung.asks = 99;
        let last = answered_at(seconds(100_000), &rung, &Outcome::Accepted { reference: reference() });
        assert_eq!(step(&last).to, Status::Review, "{status:?}");
    }
    for status in LIVE {
        let rung = after_a_bell(&gone_on(Kind::Deposit, status));
        let open = answered_at(seconds(2), &rung, &Outcome::Accepted { reference: reference() });
        let Decision::Note(news) = open else { panic!("{status:?}: {open:?}") };
        assert_eq!((news.state, news.reference), (AttemptState::Unknown, Some(reference())), "{status:?}");
    }
}

#[test]
fn a_payment_that_is_taken_back_while_another_attempt_is_in_doubt_is_a_human_s() {
    let back = Outcome::Reversed { reference: reference(), money: euros(1_000), how: Reversal::Chargeback };
    let paid = gone_on(Kind::Deposit, Status::Succeeded);
    assert_eq!(step(&told_of_the_second(NOW, &paid, &back)).to, Status::Reversed);
    assert_eq!(step(&told_of_the_second(NOW, &after_a_bell(&paid), &back)).to, Status::Review);
}

#[test]
fn a_human_s_word_about_a_payment_of_which_another_attempt_may_have_moved_money_says_how_much() {
    let mut transaction = gone_on(Kind::Deposit, Status::Review);
    let ruled = |transaction: &Transaction, moved| {
        let word = Word { operator: "ada".into(), says: "seen in their console".into() };
        let ruling = Ruling { id: Uuid::now_v7(), end: End::Succeeded, moved, seen: None, word };
        resolve(transaction, &Booked::default(), &ruling).map(|change| change.to)
    };
    assert_eq!(ruled(&transaction, None), Ok(Status::Succeeded));
    for state in [AttemptState::Unknown, AttemptState::Accepted, AttemptState::NeedsCustomer] {
        transaction.attempts[0].state = state;
        let refused = Unresolvable::InDoubt { number: 1, gateway: "stripe".into() };
        assert_eq!(ruled(&transaction, None), Err(refused), "{state:?}");
        assert_eq!(ruled(&transaction, Some(1_000)), Ok(Status::Succeeded), "{state:?}");
    }
}

/// His word is the last; it is asked once more, and no more.
#[test]
fn what_a_human_has_settled_is_not_in_doubt_any_more() {
    for state in [AttemptState::Unknown, AttemptState::Rejected] {
        let mut settled = gone_on(Kind::Deposit, Status::Succeeded);
        settled.attempts[0].state = state;
        settled.reason = Some(Reason { code: RESOLVED.into(), ..Reason::default() });
        settled.is_due = false;
        assert!(!settled.is_in_doubt());
        let rang = after_a_bell(&settled);
        assert!(!rang.is_in_doubt() && rang.is_due);
        let open = answered_at(seconds(2), &rang, &Outcome::Accepted { reference: reference() });
        assert!(matches!(open, Decision::Note(_)), "{open:?}");
    }
}

#[test]
fn nothing_is_sent_again_nor_captured_while_another_attempt_is_in_doubt() {
    let lost = after_a_bell(&gone_on(Kind::Deposit, Status::Unknown));
    let mut approved = after_a_bell(&gone_on(Kind::Deposit, Status::RequiresAction));
    approved.attempts[1].state = AttemptState::Approved;
    for (act, outcome, transaction) in
        [(Act::Create, Outcome::NotFound, lost), (Act::Capture, Outcome::Approved { reference: reference() }, approved)]
    {
        let mut told = transaction.clone();
        told.attempts[0].state = AttemptState::Rejected;
        for (transaction, is_sent) in [(transaction, false), (told, true)] {
            let decision = told_of_the_second(seconds(100), &transaction, &outcome);
            let orders = matches!(&decision, Decision::Step(change) if change.command.is_some());
            assert_eq!(orders, is_sent, "{decision:?}");
            let (version, gateway) = (transaction.version, transaction.gateway.clone());
            let calls = i16::from(act == Act::Create);
            let command = Command { transaction_id: transaction.id, act, attempt: 2, gateway, version, calls };
            let begun = within(NOW, |context| begin(&transaction, &command, Uuid::now_v7(), context));
            assert_eq!(matches!(begun, Begin::Call { .. }), is_sent, "{begun:?}");
        }
    }
}

#[test]
fn a_withdrawal_is_known_not_to_have_been_carried_out_twice_only_if_that_is_told_to_the_end() {
    for status in LIVE.into_iter().chain(ENDED) {
        let mut rung = after_a_bell(&gone_on(Kind::Withdrawal, status));
        let early = answered_at(seconds(100), &rung, &Outcome::NotFound);
        assert!(matches!(early, Decision::LookAgain { .. } | Decision::Nothing(_)), "{status:?}: {early:?}");
        rung.asks = 99;
        let last = answered_at(seconds(100_000), &rung, &Outcome::NotFound);
        let ends = matches!(&last, Decision::Step(change) if change.to == status);
        assert_eq!(ends, status.is_final(), "{status:?}: {last:?}");
    }
}
