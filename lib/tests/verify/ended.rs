//! I5: how payments have ended, by their gateways or a human, held against the gateways' own log.

use payfleet::domain::ids::{Kind, Operation};
use payfleet::ops::verify::{Invariant, Rest, Verdict};
use serde_json::json;
use uuid::Uuid;

use super::books::{World, now};
use super::charges::{charge_of, said};
use super::payments::{Payment, Step, credit};

#[tokio::test]
async fn what_a_human_has_settled_agrees_only_if_what_its_gateway_moved_is_booked_with_it() {
    let mut world = World::lawful().await;
    let mut payment = world.accepted(Kind::Deposit, 4_200).await;
    world.submitted(&mut payment).await;
    world.charge(&payment, "succeeded", 4_100);
    world.take(&mut payment, Step { to: "review", reason: Some("amount_differs"), ..Step::default() }).await;
    world.take(&mut payment, Step { to: "succeeded", entries: credit(4_200), ..Step::default() }).await;
    said(&world.judge_only(Invariant::I5, Rest::AtRest).await, "the ledger has 4200 EUR");
    world.sql("UPDATE transitions SET actor = 'operator' WHERE from_status = 'review'").await;
    said(&world.judge_only(Invariant::I5, Rest::AtRest).await, "a person has settled it, and the ledger has 4200 EUR");
    for entry in [("suspend", "suspense", "debit", 100), ("suspend", "clearing", "credit", 100)] {
        world.book(&payment, payment.version, entry).await;
    }
    let finding = world.judge_only(Invariant::I5, Rest::AtRest).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
    // As much as the gateway moved is credited, and stands in suspense as well.
    charge_of(&mut world, &payment)["amount"] = 4_200.into();
    said(&world.judge_only(Invariant::I5, Rest::AtRest).await, "a person has settled it, and the ledger has 4100 EUR");
}

#[tokio::test]
async fn money_that_its_gateway_keeps_of_a_payment_that_a_human_has_failed_stands_in_suspense() {
    let mut world = World::lawful().await;
    let mut payment = world.accepted(Kind::Deposit, 4_200).await;
    world.submitted(&mut payment).await;
    world.charge(&payment, "succeeded", 4_100);
    world.take(&mut payment, Step { to: "review", reason: Some("amount_differs"), ..Step::default() }).await;
    let suspended = vec![("suspend", "clearing", "debit", 4_100), ("suspend", "suspense", "credit", 4_100)];
    world
        .take(
            &mut payment,
            Step { to: "failed", substatus: Some("not_executed"), entries: suspended, ..Step::default() },
        )
        .await;
    said(&world.judge_only(Invariant::I5, Rest::AtRest).await, "it stands, and the payment stands at failed");
    world.sql("UPDATE transitions SET actor = 'operator' WHERE from_status = 'review'").await;
    let finding = world.judge_only(Invariant::I5, Rest::AtRest).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
    world.sql("UPDATE ledger_entries SET gateway = 'bank' WHERE effect = 'suspend'").await;
    said(&world.judge_only(Invariant::I5, Rest::AtRest).await, "the ledger has 4100 EUR at bank, which has moved 0");
    world.sql("UPDATE ledger_entries SET gateway = 'stripe', amount = 4000 WHERE effect = 'suspend'").await;
    said(
        &world.judge_only(Invariant::I5, Rest::AtRest).await,
        "the ledger has 4000 EUR at stripe, which has moved 4100",
    );
}

#[tokio::test]
async fn a_payment_that_failed_or_expired_though_its_gateway_never_said_so_is_found() {
    for (status, substatus) in [("failed", Some("declined")), ("expired", None)] {
        let mut world = World::lawful().await;
        let mut payment = world.accepted(Kind::Deposit, 4_200).await;
        world.submitted(&mut payment).await;
        world.charge(&payment, "awaiting_customer", 4_200);
        world.take(&mut payment, Step { to: "requires_action", ..Step::default() }).await;
        world.take(&mut payment, Step { to: status, substatus, reason: Some("declined"), ..Step::default() }).await;
        said(&world.judge_only(Invariant::I5, Rest::Live).await, "open on its books");
        world.state(&payment, "expired");
        let finding = world.judge_only(Invariant::I5, Rest::Live).await;
        assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
        // What has ended and is paid after all has to be booked.
        world.state(&payment, "captured");
        said(&world.judge_only(Invariant::I5, Rest::AtRest).await, &format!("the payment stands at {status}"));
    }
}

#[tokio::test]
async fn a_payment_that_failed_by_one_order_while_another_is_open_is_found() {
    let mut world = World::lawful().await;
    let mut payment = world.accepted(Kind::Deposit, 4_200).await;
    world.submitted(&mut payment).await;
    world.charge(&payment, "pending", 4_200);
    let mut again = world.charges.last().unwrap().clone();
    again["reference"] = json!("pi_again");
    again["result"] = json!("declined");
    world.charges.push(again);
    let failed = Step { to: "failed", substatus: Some("declined"), reason: Some("declined"), ..Step::default() };
    world.take(&mut payment, failed).await;
    said(&world.judge_only(Invariant::I5, Rest::Live).await, "open on its books");
}

/// A payment that has expired because its customer never came.
async fn abandoned() -> (World, Payment) {
    let mut world = World::lawful().await;
    let mut payment = world.accepted(Kind::Deposit, 4_200).await;
    world.submitted(&mut payment).await;
    world.charge(&payment, "awaiting_customer", 4_200);
    world.take(&mut payment, Step { to: "requires_action", ..Step::default() }).await;
    world.take(&mut payment, Step { to: "expired", reason: Some("customer_expired"), ..Step::default() }).await;
    (world, payment)
}

#[tokio::test]
async fn a_payment_whose_customer_never_came_may_expire_though_its_gateway_keeps_it() {
    let (mut world, payment) = abandoned().await;
    let finding = world.judge_only(Invariant::I5, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
    for (state, at_rest) in
        [("approved", "open on its books"), ("captured", "it stands, and the payment stands at expired")]
    {
        world.state(&payment, state);
        let live = world.judge_only(Invariant::I5, Rest::Live).await;
        assert_eq!(live.verdict(), Verdict::Held, "the fleet is about to find out: {live:?}");
        assert!(live.under_way > 0, "{live:?}");
        said(&world.judge_only(Invariant::I5, Rest::AtRest).await, at_rest);
    }
}

#[tokio::test]
async fn a_payment_whose_customer_never_came_keeps_no_order_but_the_last() {
    let (mut world, payment) = abandoned().await;
    let second = Payment { attempt: Uuid::now_v7(), number: 2, ..payment };
    world.attempt(&second).await;
    world.sql("UPDATE transactions SET attempt = 2 WHERE status = 'expired'").await;
    world.charge(&second, "awaiting_customer", 4_200);
    said(&world.judge_only(Invariant::I5, Rest::AtRest).await, "open on its books");
}

#[tokio::test]
async fn an_order_that_is_open_beside_a_success_is_found_at_rest() {
    let mut world = World::lawful().await;
    let payment = world.settled(Kind::Deposit, 4_200).await;
    let mut again = world.charges.iter().rfind(|entry| entry["entry"] == "charge").unwrap().clone();
    (again["reference"], again["result"]) = (json!("pi_again"), json!("pending"));
    world.charges.push(again);
    let live = world.judge_only(Invariant::I5, Rest::Live).await;
    assert_eq!(live.verdict(), Verdict::Held, "{live:?}");
    said(&world.judge_only(Invariant::I5, Rest::AtRest).await, &format!("payment {} stands at succeeded", payment.id));
}

#[tokio::test]
async fn a_payment_given_up_as_not_sent_that_stands_on_its_gateways_books_is_found() {
    let mut world = World::lawful().await;
    let mut payment = world.accepted(Kind::Deposit, 4_200).await;
    world.submitted(&mut payment).await;
    let given_up = Step { to: "failed", substatus: Some("not_sent"), reason: Some("not_sent"), ..Step::default() };
    world.take(&mut payment, given_up).await;
    let finding = world.judge_only(Invariant::I5, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
    world.charge(&payment, "pending", 4_200);
    said(&world.judge_only(Invariant::I5, Rest::Live).await, "open on its books");
    world.state(&payment, "cancelled");
    let finding = world.judge_only(Invariant::I5, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
}

#[tokio::test]
async fn a_payment_given_up_because_its_gateway_once_did_not_know_it_is_found() {
    let mut world = World::lawful().await;
    let mut payment = world.accepted(Kind::Deposit, 4_200).await;
    world.submitted(&mut payment).await;
    let given_up =
        Step { to: "failed", substatus: Some("not_executed"), reason: Some("not_executed"), ..Step::default() };
    world.take(&mut payment, given_up).await;
    world.sql("UPDATE attempts SET not_found = 1").await;
    said(&world.judge_only(Invariant::I5, Rest::Live).await, "stripe was heard 1 times, not 2, not to know it");
    world.sql("UPDATE attempts SET not_found = 2").await;
    let finding = world.judge_only(Invariant::I5, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
    world.charge(&payment, "pending", 4_200);
    said(&world.judge_only(Invariant::I5, Rest::Live).await, "open on its books");
}

#[tokio::test]
async fn a_success_that_only_a_lying_callback_told_is_to_be_found_out_by_the_fleet_and_does_not_stay() {
    let mut world = World::lawful().await;
    let mut payment = world.accepted(Kind::Deposit, 4_200).await;
    world.submitted(&mut payment).await;
    world.charge(&payment, "declined", 4_200);
    world.take(&mut payment, Step { to: "succeeded", entries: credit(4_200), ..Step::default() }).await;
    said(&world.judge_only(Invariant::I5, Rest::Live).await, "charged nothing for it");
    let key = Operation::Create.key(payment.attempt);
    let lied =
        json!({ "entry": "lied", "gateway": "stripe", "key": key, "kind": "callback_contradicting", "at": now() });
    world.charges.push(lied);
    let live = world.judge_only(Invariant::I5, Rest::Live).await;
    assert_eq!((live.verdict(), live.under_way), (Verdict::Held, 1), "{live:?}");
    said(&world.judge_only(Invariant::I5, Rest::AtRest).await, "charged nothing for it");
}

#[tokio::test]
async fn what_a_human_has_booked_of_money_that_no_gateway_has_moved_is_found() {
    let mut world = World::lawful().await;
    let mut payment = world.accepted(Kind::Deposit, 4_200).await;
    world.submitted(&mut payment).await;
    world.charge(&payment, "declined", 4_200);
    world.take(&mut payment, Step { to: "review", reason: Some("gateway_silent"), ..Step::default() }).await;
    let suspended = vec![("suspend", "clearing", "debit", 1_000), ("suspend", "suspense", "credit", 1_000)];
    world
        .take(
            &mut payment,
            Step { to: "failed", substatus: Some("not_executed"), entries: suspended, ..Step::default() },
        )
        .await;
    world.sql("UPDATE transitions SET actor = 'operator' WHERE from_status = 'review'").await;
    said(&world.judge_only(Invariant::I5, Rest::AtRest).await, "the ledger has 1000 EUR at stripe, which has moved 0");
}

#[tokio::test]
async fn a_reversal_by_hand_of_money_that_its_gateway_has_kept_is_found() {
    let mut world = World::lawful().await;
    let mut payment = world.settled(Kind::Deposit, 4_200).await;
    world.take(&mut payment, Step { to: "review", reason: Some("contradiction"), ..Step::default() }).await;
    let entries = vec![("reverse", "available", "debit", 4_200), ("reverse", "clearing", "credit", 4_200)];
    world.take(&mut payment, Step { to: "reversed", substatus: Some("chargeback"), entries, ..Step::default() }).await;
    world.sql("UPDATE transitions SET actor = 'operator' WHERE from_status = 'review'").await;
    said(&world.judge_only(Invariant::I5, Rest::AtRest).await, "the ledger has 0 EUR at stripe, which has moved 4200");
    world.state(&payment, "reversed");
    let finding = world.judge_only(Invariant::I5, Rest::AtRest).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
}

#[tokio::test]
async fn what_a_gateway_gave_back_of_a_second_charge_contradicts_no_success() {
    let mut world = World::lawful().await;
    let payment = world.settled(Kind::Deposit, 4_200).await;
    let second = Payment { attempt: Uuid::now_v7(), number: 2, ..payment };
    world.attempt(&second).await;
    world.charge(&second, "succeeded", 4_200);
    said(&world.judge_only(Invariant::I5, Rest::AtRest).await, "was charged 2 times");
    world.state(&second, "reversed");
    let finding = world.judge_only(Invariant::I5, Rest::AtRest).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
}
