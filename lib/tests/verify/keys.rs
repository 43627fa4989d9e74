//! I6 and I17: corrupted keys, answers and requests.

use payfleet::domain::ids::Kind;
use payfleet::ops::verify::{Invariant, Rest, Verdict};

use super::books::{World, sha256};

async fn rejects(invariant: Invariant, corruption: &str, saying: &str) {
    let world = World::lawful().await;
    assert_eq!(world.judge_only(invariant, Rest::Live).await.verdict(), Verdict::Held);
    world.sql(corruption).await;
    let finding = world.judge_only(invariant, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::Violated, "after {corruption}");
    assert!(finding.examples.iter().any(|example| example.contains(saying)), "{saying}: {finding:?}");
}

#[tokio::test]
async fn two_payments_under_one_key_are_found() {
    rejects(
        Invariant::I17,
        "ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_pkey; UPDATE idempotency_keys SET key = 'same'",
        "made 5 payments",
    )
    .await;
}

#[tokio::test]
async fn a_payment_without_a_key_and_a_key_without_a_payment_are_found() {
    rejects(
        Invariant::I17,
        "DELETE FROM idempotency_keys WHERE transaction_id = (SELECT id FROM transactions LIMIT 1)",
        "was made under 0 keys",
    )
    .await;
    rejects(
        Invariant::I17,
        "UPDATE idempotency_keys SET transaction_id = gen_random_uuid()
         WHERE transaction_id = (SELECT id FROM transactions LIMIT 1)",
        "no payment was made",
    )
    .await;
}

#[tokio::test]
async fn a_payment_under_two_keys_is_found() {
    rejects(
        Invariant::I17,
        "ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_transaction_unique;
         INSERT INTO idempotency_keys SELECT user_id, endpoint, key || '-again', command_hash, transaction_id, reply_status, reply_type, reply_body
         FROM idempotency_keys LIMIT 1",
        "was made under 2 keys",
    )
    .await;
}

#[tokio::test]
async fn a_load_log_that_cannot_be_understood_is_not_checkable() {
    let mut world = World::lawful().await;
    world.requests.insert(1, serde_json::json!({ "event": "something new" }));
    for invariant in [Invariant::I6, Invariant::I17] {
        let finding = world.judge_only(invariant, Rest::Live).await;
        assert_eq!(finding.verdict(), Verdict::NotCheckable, "{finding:?}");
        assert!(finding.gaps[0].starts_with("line 2 of the load's log"), "{finding:?}");
    }
}

#[tokio::test]
async fn a_stored_answer_about_another_payment_is_found() {
    rejects(
        Invariant::I17,
        "UPDATE idempotency_keys
         SET reply_body = convert_to(regexp_replace(convert_from(reply_body, 'UTF8'), 'dep_[0-9a-f]+', 'dep_0'), 'UTF8')",
        "the stored answer names dep_0",
    )
    .await;
    rejects(Invariant::I17, "UPDATE idempotency_keys SET reply_body = '{'", "cannot be read").await;
    let answered = "convert_to(replace(convert_from(reply_body, 'UTF8'), {}), 'UTF8')";
    for (from_to, saying) in [
        ("'2500', '2501'", "says 2501 EUR, and dep_"),
        ("'EUR', 'USD'", "USD, and dep_"),
        ("'created', 'succeeded'", "the stored answer says succeeded"),
    ] {
        let body = answered.replace("{}", from_to);
        rejects(Invariant::I17, &format!("UPDATE idempotency_keys SET reply_body = {body}"), saying).await;
    }
    rejects(Invariant::I17, "UPDATE idempotency_keys SET reply_status = 500", "the stored status is 500").await;
}

#[tokio::test]
async fn a_key_of_another_user_or_endpoint_is_found() {
    rejects(Invariant::I17, "UPDATE idempotency_keys SET user_id = gen_random_uuid()", "is another user's").await;
    rejects(
        Invariant::I17,
        "UPDATE idempotency_keys SET endpoint = 'POST /v1/withdrawals' WHERE endpoint = 'POST /v1/deposits'",
        "is a deposit",
    )
    .await;
    rejects(
        Invariant::I17,
        "ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_transaction_unique",
        "idempotency_keys_transaction_unique of idempotency_keys is gone",
    )
    .await;
}

#[tokio::test]
async fn a_replay_that_differs_from_the_stored_answer_is_found() {
    let mut world = World::lawful().await;
    let answered = world.requests.iter().position(|line| line["event"] == "answer").unwrap();
    let mut other = world.requests[answered].clone();
    other["sha256"] = sha256(b"another body").into();
    world.requests.push(other);
    assert_eq!(world.judge_only(Invariant::I17, Rest::Live).await.violations, 1);
}

#[tokio::test]
async fn an_accepted_request_that_left_nothing_is_found() {
    rejects(
        Invariant::I6,
        "DELETE FROM idempotency_keys WHERE transaction_id = (SELECT id FROM transactions LIMIT 1)",
        "was accepted, and there is no payment",
    )
    .await;
}

#[tokio::test]
async fn a_payment_made_twice_for_one_request_is_found() {
    let mut world = World::lawful().await;
    let first = world.accepted(Kind::Deposit, 70).await;
    let second = world.accepted(Kind::Deposit, 70).await;
    world.sql("ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_pkey").await;
    world.sql(&format!("UPDATE idempotency_keys SET key = '{}' WHERE key = '{}'", first.key, second.key)).await;
    world.requests.retain(|line| line["key"] != second.key.as_str());
    let finding = world.judge_only(Invariant::I6, Rest::Live).await;
    assert_eq!(finding.examples, [format!("key {}: made 2 payments", first.key)]);
}

#[tokio::test]
async fn a_refused_request_that_left_a_payment_is_found() {
    let mut world = World::lawful().await;
    let payment = world.accepted(Kind::Deposit, 80).await;
    for line in world.requests.iter_mut().filter(|line| line["key"] == payment.key.as_str()) {
        if line["event"] == "answer" {
            (line["status"], line["transaction"]) = (402.into(), serde_json::Value::Null);
        }
    }
    let finding = world.judge_only(Invariant::I6, Rest::Live).await;
    assert_eq!(
        finding.examples,
        [format!("key {}: was refused with 402, and there is payment {}", payment.key, payment.id)]
    );
}

#[tokio::test]
async fn a_payment_of_another_amount_than_was_meant_is_found() {
    rejects(Invariant::I6, "UPDATE transactions SET amount = amount + 1", "meant").await;
}

#[tokio::test]
async fn a_request_whose_answer_was_lost_may_exist_or_not() {
    let mut world = World::lawful().await;
    let made = world.accepted(Kind::Deposit, 90).await;
    let never = world.accepted(Kind::Deposit, 91).await;
    world.requests.retain(|line| {
        line["event"] != "answer" || (line["key"] != made.key.as_str() && line["key"] != never.key.as_str())
    });
    world.sql(&format!("DELETE FROM idempotency_keys WHERE key = '{}'", never.key)).await;
    let finding = world.judge_only(Invariant::I6, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
}

#[tokio::test]
async fn a_request_that_was_accepted_and_refused_when_it_was_sent_again_is_found() {
    let mut world = World::lawful().await;
    let mut refusal = world.requests.iter().rfind(|line| line["status"] == 202).unwrap().clone();
    (refusal["status"], refusal["transaction"]) = (422.into(), serde_json::Value::Null);
    world.requests.push(refusal);
    let finding = world.judge_only(Invariant::I17, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::Violated, "{finding:?}");
    assert!(finding.examples.iter().any(|example| example.contains("and refused with 422 as well")), "{finding:?}");
}
