//! Called off by its owner, taken back by its gateway, settled by a human.

use super::*;
use crate::domain::change::{Available, Word};
use crate::domain::decide::cancel::{Cancel, cancel};
use crate::domain::decide::due::{Due, fell_due};
use crate::domain::decide::news::rung;
use crate::domain::decide::resolve::{Booked, End, Ruling, Unresolvable, resolve};
use crate::domain::posting::{Account, Effect, Posting, Side};

pub(super) fn back(minor: i64) -> Outcome {
    Outcome::Reversed { reference: "pi_1".into(), money: euros(minor), how: Reversal::Chargeback }
}

fn entries(postings: &[Posting]) -> Vec<(Effect, Side, Account, i64)> {
    postings.iter().map(|p| (p.effect, p.side, p.account, p.amount)).collect()
}

#[test]
fn a_payment_is_cancelled_only_while_no_attempt_was_ever_made_and_its_hold_is_released_with_it() {
    let transaction = payment(Kind::Withdrawal, Status::Created);
    let Cancel::Step(change) = cancel(&transaction) else { panic!("nothing was sent") };
    assert_eq!((change.to, change.due_in, change.command.is_none()), (Status::Cancelled, None, true));
    let release = [(Side::Debit, Account::Held), (Side::Credit, Account::Available)];
    assert_eq!(entries(&change.postings), release.map(|(side, account)| (Effect::Release, side, account, 1_000)));
    assert_eq!(cancel(&change.applied_to(&transaction, NOW)), Cancel::Already);
    // Refused everywhere so far, it waits to be sent again: a refusal may yet turn out to have been none.
    let mut refused = payment(Kind::Withdrawal, Status::Submitting);
    refused.status = Status::Created;
    assert_eq!(cancel(&refused), Cancel::TooLate);
}

#[test]
fn what_is_taken_back_takes_what_is_there_and_the_rest_is_owed() {
    let mut transaction = payment(Kind::Deposit, Status::Succeeded);
    for (available, expected) in [
        (1_500, Available::AtLeast(1_000)),
        (1_000, Available::AtLeast(1_000)),
        (300, Available::Exactly(300)),
        (0, Available::Exactly(0)),
    ] {
        transaction.available = available;
        let decision = told(&transaction, ANSWER, &back(1_000));
        let change = step(&decision);
        assert_eq!((change.to, change.substatus), (Status::Reversed, Some(Substatus::Chargeback)));
        assert_eq!(change.expected_available, Some(expected), "{available}");
        let sum = |account| change.postings.iter().filter(|p| p.account == account).map(Posting::delta).sum::<i64>();
        let there = available.min(1_000);
        assert_eq!((sum(Account::Available), sum(Account::Owed)), (-there, 1_000 - there));
        assert_eq!(sum(Account::Clearing), -1_000);
        assert!(change.postings.iter().all(|posting| posting.amount > 0));
    }
}

#[test]
fn a_withdrawal_that_comes_back_repays_what_is_owed_first() {
    let mut transaction = payment(Kind::Withdrawal, Status::Succeeded);
    transaction.owed = 400;
    let decision = told(&transaction, ANSWER, &back(1_000));
    let owed_first = vec![
        (Effect::Reverse, Side::Debit, Account::Clearing, 1_000),
        (Effect::Reverse, Side::Credit, Account::Owed, 400),
        (Effect::Reverse, Side::Credit, Account::Available, 600),
    ];
    assert_eq!(entries(&step(&decision).postings), owed_first);
}

#[test]
fn a_payout_that_failed_after_it_was_paid_comes_back_only_when_the_gateway_was_asked_twice() {
    let transaction = payment(Kind::Withdrawal, Status::Succeeded);
    let first = told(&transaction, ANSWER, &declined());
    assert_eq!((step(&first).to, step(&first).command.is_some()), (Status::Succeeded, true));
    let asked = step(&first).applied_to(&transaction, NOW);
    // A question that was under way when the first answer came says nothing more.
    let before = Source::Answer { asked_at: NOW - Duration::from_secs(1), delivered: true };
    let stale = told(&asked, before, &declined());
    assert!(asked.is_due && matches!(stale, Decision::Nothing(_)), "{stale:?}");
    let second = told(&asked, ANSWER, &declined());
    assert_eq!((step(&second).to, step(&second).substatus), (Status::Reversed, Some(Substatus::Returned)));
    let deposit = payment(Kind::Deposit, Status::Succeeded);
    assert_eq!(step(&told(&deposit, ANSWER, &declined())).to, Status::Review);
}

/// A callback's word and the answer to the one question that follows it are not two answers.
#[test]
fn what_a_callback_says_is_no_answer_to_a_question_whether_a_payout_came_back() {
    let transaction = payment(Kind::Withdrawal, Status::Succeeded);
    let rings = || Source::Callback { id: Uuid::now_v7() };
    let rang = told(&transaction, rings(), &declined());
    let after = step(&rang).applied_to(&transaction, NOW);
    assert!(after.contradicted);
    let first = told(&after, ANSWER, &declined());
    let (to, postings) = (step(&first).to, step(&first).postings.len());
    assert_eq!((to, postings, step(&first).command.is_some()), (Status::Succeeded, 0, true));
    let asked = step(&first).applied_to(&after, NOW);
    let rang = told(&asked, rings(), &declined());
    let between = step(&rang).applied_to(&asked, NOW);
    assert_eq!(step(&told(&between, ANSWER, &declined())).to, Status::Succeeded, "one answer since the callback");
    assert_eq!(step(&told(&asked, ANSWER, &declined())).to, Status::Reversed);
}

#[test]
fn a_callback_alone_and_a_part_of_the_money_reverse_nothing() {
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        let transaction = payment(kind, Status::Succeeded);
        let rang = told(&transaction, Source::Callback { id: Uuid::now_v7() }, &back(1_000));
        assert_eq!((step(&rang).to, step(&rang).postings.len()), (Status::Succeeded, 0));
        let part = told(&transaction, ANSWER, &back(400));
        assert_eq!((step(&part).to, step(&part).postings.len()), (Status::Review, 0));
        let reversed = payment(kind, Status::Reversed);
        assert!(matches!(told(&reversed, ANSWER, &back(1_000)), Decision::Nothing(_)), "the same again");
    }
}

#[test]
fn a_payment_taken_back_before_its_success_was_heard_of_books_both() {
    for status in [Status::Submitting, Status::AwaitingGateway, Status::Unknown] {
        let transaction = payment(Kind::Deposit, status);
        let first = told(&transaction, ANSWER, &back(1_000));
        assert_eq!((step(&first).to, step(&first).command.is_some()), (Status::Succeeded, true));
        assert_eq!(step(&first).postings[0].effect, Effect::Credit);
        let second = told(&step(&first).applied_to(&transaction, NOW), ANSWER, &back(1_000));
        assert_eq!((step(&second).to, step(&second).postings[0].effect), (Status::Reversed, Effect::Reverse));
    }
}

#[test]
fn a_payment_taken_back_before_its_success_was_heard_of_is_a_humans_if_the_gateway_says_no_more() {
    let silent = Outcome::Unknown { why: "time-out".into() };
    let late = NOW + Duration::from_secs(3_600);
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        let transaction = payment(kind, Status::Unknown);
        let mut after = step(&told(&transaction, ANSWER, &back(1_000))).applied_to(&transaction, NOW);
        after.asks = 2;
        let last = answered_at(late, &after, &silent);
        assert!(matches!(last, Decision::LookAgain { due_in: Some(_), asks: 3, .. }), "forgotten: {last:?}");
        after.asks = 3;
        let due = within(late, |context| fell_due(&after, true, context));
        let Due::Decided(decision) = due else { panic!("asked about for ever: {due:?}") };
        assert_eq!(step(&decision).to, Status::Review);
    }
}

pub(super) fn ruled(
    transaction: &Transaction,
    effects: &[Effect],
    clearing: i64,
    end: End,
    moved: Option<i64>,
) -> Result<Change, Unresolvable> {
    // What these tests have in suspense is always what the gateway had less than it should.
    let is_suspended = effects.contains(&Effect::Suspend);
    let suspended = if is_suspended { vec![Side::Credit] } else { Vec::new() };
    let suspended_at = is_suspended.then(|| transaction.gateway.clone());
    ruled_at(transaction, &Booked { effects: effects.to_vec(), clearing, suspended, suspended_at }, end, moved)
}

pub(super) fn ruled_at(
    transaction: &Transaction,
    booked: &Booked,
    end: End,
    moved: Option<i64>,
) -> Result<Change, Unresolvable> {
    let word = Word { operator: "ada".into(), says: "their console says so".into() };
    resolve(transaction, booked, &Ruling { id: Uuid::now_v7(), end, moved, seen: None, word })
}

/// A payment, what is booked of it, a human's word, and what that books.
type Case<'a> = (&'a Transaction, &'a [Effect], End, Result<Option<Effect>, Unresolvable>);

#[test]
fn a_humans_word_books_exactly_what_is_missing() {
    use Effect::{Credit, Hold, Post, Recover, Release, Reverse};
    let (deposit, withdrawal) = (payment(Kind::Deposit, Status::Review), payment(Kind::Withdrawal, Status::Review));
    let refused = Unresolvable::HadSucceeded;
    let never = Unresolvable::NeverSucceeded;
    let cases: [Case<'_>; 15] = [
        (&deposit, &[], End::Succeeded, Ok(Some(Credit))),
        (&deposit, &[], End::Failed, Ok(None)),
        (&deposit, &[], End::Reversed, Err(never.clone())),
        (&deposit, &[Credit], End::Succeeded, Ok(None)),
        (&deposit, &[Credit], End::Failed, Err(refused.clone())),
        (&deposit, &[Credit], End::Reversed, Ok(Some(Reverse))),
        (&withdrawal, &[Hold], End::Succeeded, Ok(Some(Post))),
        (&withdrawal, &[Hold], End::Failed, Ok(Some(Release))),
        (&withdrawal, &[Hold], End::Reversed, Err(never.clone())),
        (&withdrawal, &[Hold, Post], End::Failed, Err(refused)),
        (&withdrawal, &[Hold, Post], End::Reversed, Ok(Some(Reverse))),
        (&withdrawal, &[Hold, Release], End::Succeeded, Ok(Some(Recover))),
        (&withdrawal, &[Hold, Release], End::Failed, Ok(None)),
        (&withdrawal, &[Hold, Release], End::Reversed, Err(never)),
        (&withdrawal, &[Hold, Release, Recover], End::Reversed, Ok(Some(Reverse))),
    ];
    for (transaction, effects, end, expected) in cases {
        let booked = ruled(transaction, effects, 0, end, None).map(|change| {
            assert_eq!(change.word.as_ref().map(|word| word.operator.as_str()), Some("ada"));
            assert!(change.from.may_become(change.to) && change.to.as_str() == end.as_str());
            change.postings.first().map(|posting| posting.effect)
        });
        assert_eq!(booked, expected, "{end:?} of {effects:?}");
    }
}

/// Who decides may have looked before the gateway spoke: a word that knows nothing of a success would keep money from its owner, or give it
/// away twice, and nobody would be told again.
#[test]
fn a_success_told_during_review_is_news_to_whoever_decides_and_fails_nothing_by_itself() {
    for (kind, effects) in [(Kind::Deposit, &[][..]), (Kind::Withdrawal, &[Effect::Hold][..])] {
        let transaction = payment(kind, Status::Review);
        assert!(ruled(&transaction, effects, 0, End::Failed, None).is_ok());
        for source in sources() {
            let told_of = told(&transaction, source, &succeeded());
            let change = step(&told_of);
            assert_eq!((change.to, change.postings.len(), change.due_in), (Status::Review, 0, None));
            let knowing = change.applied_to(&transaction, NOW);
            assert_eq!(knowing.version, transaction.version + 1, "a word given before would still be taken");
            let failed = |moved| ruled(&knowing, effects, 0, End::Failed, moved).map(drop);
            assert_eq!(failed(None), Err(Unresolvable::SaidToHaveSucceeded));
            assert_eq!((failed(Some(0)), failed(Some(1_000))), (Ok(()), Ok(())));
            let word = Word { operator: "ada".into(), says: "they moved nothing".into() };
            let seen = Some(transaction.version);
            let blind = Ruling { id: Uuid::now_v7(), end: End::Failed, moved: Some(0), seen, word };
            let moved_on = Unresolvable::MovedOn { seen: transaction.version, now: knowing.version };
            let booked = Booked { effects: effects.to_vec(), ..Booked::default() };
            assert_eq!(resolve(&knowing, &booked, &blind).map(drop), Err(moved_on));
            assert!(resolve(&transaction, &booked, &blind).is_ok());
            assert!(ruled(&knowing, effects, 0, End::Succeeded, None).is_ok());
            let again = told(&knowing, source, &succeeded());
            assert!(matches!(again, Decision::Note(_)), "the same again: {again:?}");
        }
    }
}

#[test]
fn what_else_is_told_during_review_is_told_to_whoever_decides() {
    let transaction = payment(Kind::Deposit, Status::Review);
    let (mut older, mut newer) = (transaction.clone(), transaction.attempts[0].clone());
    (newer.id, newer.number) = (Uuid::now_v7(), 2);
    older.attempts.push(newer);
    older.attempt = 2;
    let less = Outcome::Succeeded { reference: "pi_1".into(), money: euros(999) };
    for (payment, news, reason) in [
        (&transaction, &less, "amount_differs"),
        (&older, &succeeded(), "second_success"),
        (&transaction, &back(400), "taken_back"),
    ] {
        for source in sources() {
            let decision = told(payment, source, news);
            let change = step(&decision);
            assert_eq!(
                (change.to, change.reason.as_ref().map(|why| why.code.as_str())),
                (Status::Review, Some(reason))
            );
            let state = change.attempt_change.as_ref().map(|attempt| attempt.state);
            assert_eq!(state, Some(AttemptState::Succeeded), "money was moved");
        }
    }
    let rang = within(NOW, |context| rung(&transaction, transaction.attempts[0].id, Uuid::now_v7(), context));
    assert_eq!((step(&rang).to, step(&rang).command.is_some(), step(&rang).due_in), (Status::Review, true, None));
}

#[test]
fn two_answers_at_one_version_are_two_causes_if_they_say_otherwise() {
    let transaction = payment(Kind::Deposit, Status::Unknown);
    let cause = |news| step(&told(&transaction, ANSWER, &news)).cause.clone();
    assert_ne!(cause(succeeded()), cause(declined()));
    assert_eq!(cause(succeeded()), cause(succeeded()));
}

#[test]
fn an_answer_from_before_a_contradiction_does_not_settle_it() {
    let transaction = payment(Kind::Deposit, Status::Succeeded);
    let rang = told(&transaction, Source::Callback { id: Uuid::now_v7() }, &declined());
    let contradicted = step(&rang).applied_to(&transaction, NOW);
    let before = Source::Answer { asked_at: NOW - Duration::from_secs(1), delivered: true };
    let older = told(&contradicted, before, &succeeded());
    assert!(contradicted.is_due && matches!(older, Decision::Nothing(_)), "nobody would ask again: {older:?}");
    let since = answered_at(NOW + policy().settle_window, &contradicted, &succeeded());
    assert!(matches!(since, Decision::LookAgain { due_in: None, .. }), "{since:?}");
}

#[test]
fn what_the_gateway_moved_otherwise_stands_in_suspense() {
    let deposit = payment(Kind::Deposit, Status::Review);
    let suspended = |change: &Change| {
        let of = change.postings.iter().filter(|posting| posting.effect == Effect::Suspend);
        of.map(|posting| (posting.side, posting.account, posting.amount)).collect::<Vec<_>>()
    };
    let (debit, credit) = (Side::Debit, Side::Credit);
    let short = ruled(&deposit, &[], 0, End::Succeeded, Some(999)).unwrap();
    assert_eq!(suspended(&short), [(debit, Account::Suspense, 1), (credit, Account::Clearing, 1)]);
    let kept = ruled(&deposit, &[], 0, End::Failed, Some(999)).unwrap();
    assert_eq!(suspended(&kept), [(debit, Account::Clearing, 999), (credit, Account::Suspense, 999)]);
    let exact = ruled(&deposit, &[], 0, End::Succeeded, Some(1_000)).unwrap();
    assert!(suspended(&exact).is_empty());
    let withdrawal = payment(Kind::Withdrawal, Status::Review);
    let more = ruled(&withdrawal, &[Effect::Hold], 0, End::Succeeded, Some(1_200)).unwrap();
    assert_eq!(suspended(&more), [(debit, Account::Suspense, 200), (credit, Account::Clearing, 200)]);
    let again = ruled(&deposit, &[Effect::Credit, Effect::Suspend], 999, End::Succeeded, Some(998));
    assert_eq!(again, Err(Unresolvable::SuspendedBefore));
    assert!(ruled(&deposit, &[Effect::Credit, Effect::Suspend], 999, End::Succeeded, Some(999)).is_ok());
    // 900 came of 1,000, and went back: the 100 that stood in suspense are cleared.
    let cleared = ruled(&deposit, &[Effect::Credit, Effect::Suspend], 900, End::Reversed, Some(0)).unwrap();
    assert_eq!(suspended(&cleared), [(debit, Account::Clearing, 100), (credit, Account::Suspense, 100)]);
    assert_eq!(ruled(&deposit, &[], 0, End::Succeeded, Some(-1)), Err(Unresolvable::NotAnAmount(-1)));
}

#[test]
fn that_a_success_has_expired_is_asked_about_and_never_taken_for_its_confirmation() {
    let gone = Outcome::Expired { reference: None };
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        let transaction = payment(kind, Status::Succeeded);
        let asked = told(&transaction, ANSWER, &gone);
        assert_eq!((step(&asked).to, step(&asked).due_in.is_some()), (Status::Succeeded, true));
        for source in sources().into_iter().filter(|source| *source != ANSWER) {
            let rang = told(&transaction, source, &gone);
            assert_eq!((step(&rang).to, step(&rang).command.is_some()), (Status::Succeeded, true), "{source:?}");
        }
    }
}

/// A gateway goes on saying what a human knew when he settled the payment.
#[test]
fn what_a_human_has_settled_does_not_come_back_to_review_by_the_same_news() {
    let other = Outcome::Succeeded { reference: "pi_1".into(), money: euros(999) };
    let mut given_up = payment(Kind::Deposit, Status::Submitting);
    let mut newer = given_up.attempts[0].clone();
    (newer.id, newer.number) = (Uuid::now_v7(), 2);
    given_up.attempts.push(newer);
    given_up.attempt = 2;
    let succeeded_before = payment(Kind::Deposit, Status::Succeeded);
    for (transaction, news, effects) in [
        (payment(Kind::Deposit, Status::Unknown), other, &[][..]),
        (given_up, succeeded(), &[][..]),
        (succeeded_before, declined(), &[Effect::Credit][..]),
    ] {
        let reviewed = step(&told(&transaction, ANSWER, &news)).applied_to(&transaction, NOW);
        assert_eq!(reviewed.status, Status::Review);
        let change = ruled(&reviewed, effects, 0, End::Succeeded, Some(0)).unwrap();
        let settled = change.applied_to(&reviewed, NOW);
        for source in sources() {
            let again = told(&settled, source, &news);
            let rests = matches!(again, Decision::LookAgain { due_in: None, .. } | Decision::Nothing(_));
            assert!(rests, "{} by {source:?}: {again:?}", news.name());
        }
        let else_said = told(&settled, Source::Callback { id: Uuid::now_v7() }, &back(1_000));
        assert!(step(&else_said).command.is_some(), "something else is news");
    }
}
