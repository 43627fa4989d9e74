//! Any order and number of news that do not contradict each other ends in the same books.

use proptest::prelude::*;

use super::*;
use crate::domain::posting::{Account, Effect, Posting};

/// The news of a gateway that has decided: vague ones, and the one final word as often as you like.
fn news_of(end: &Outcome) -> Vec<(Source, Outcome)> {
    let vague = outcomes().into_iter().filter(|outcome| {
        matches!(outcome, Outcome::Accepted { .. } | Outcome::NeedsCustomer { .. } | Outcome::Unknown { .. })
    });
    vague
        .chain(Some(end.clone()))
        .flat_map(|outcome| [ANSWER, Source::Callback { id: Uuid::now_v7() }].map(|source| (source, outcome.clone())))
        .collect()
}

/// Feeds news in this order, then the final answer as the reconciler gets it; gives the end and all postings.
fn live(kind: Kind, from: Status, end: &Outcome, order: &[usize]) -> (Status, Vec<Posting>) {
    let mut transaction = payment(kind, from);
    let mut booked = Vec::new();
    let all = news_of(end);
    let asked = (ANSWER, end.clone());
    for (source, outcome) in order.iter().map(|index| &all[index % all.len()]).chain([&asked, &asked]) {
        // A callback that was handed in before never comes again under its own id: the store keeps it out.
        let source =
            if let Source::Callback { .. } = source { Source::Callback { id: Uuid::now_v7() } } else { *source };
        if let Decision::Step(change) = told(&transaction, source, outcome) {
            booked.extend(change.postings.iter().copied());
            transaction = change.applied_to(&transaction, NOW);
        }
    }
    (transaction.status, booked)
}

proptest! {
    #[test]
    fn a_payment_that_the_gateway_executed_is_booked_exactly_once(
        order in prop::collection::vec(0_usize..8, 0..24),
        withdrawal in any::<bool>(),
        from in prop::sample::select(vec![Status::Submitting, Status::AwaitingGateway, Status::Unknown]),
    ) {
        let kind = if withdrawal { Kind::Withdrawal } else { Kind::Deposit };
        let (status, booked) = live(kind, from, &succeeded(), &order);
        prop_assert_eq!(status, Status::Succeeded);
        let expected = if withdrawal { (Effect::Post, Account::Held, -1_000) } else { (Effect::Credit, Account::Available, 1_000) };
        let on_account: Vec<_> =
            booked.iter().filter(|p| p.account.is_users()).map(|p| (p.effect, p.account, p.delta())).collect();
        prop_assert_eq!(on_account, vec![expected]);
    }

    #[test]
    fn a_payment_that_the_gateway_declined_is_released_exactly_once(
        order in prop::collection::vec(0_usize..8, 0..24),
        withdrawal in any::<bool>(),
        from in prop::sample::select(vec![Status::Submitting, Status::AwaitingGateway, Status::Unknown]),
    ) {
        let kind = if withdrawal { Kind::Withdrawal } else { Kind::Deposit };
        let (status, booked) = live(kind, from, &declined(), &order);
        prop_assert_eq!(status, Status::Failed);
        let released = booked.iter().filter(|p| p.effect == Effect::Release && p.account == Account::Held).count();
        prop_assert_eq!(released, usize::from(withdrawal));
        prop_assert_eq!(booked.len(), 2 * released);
    }
}
