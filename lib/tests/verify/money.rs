//! I1–I4 and I26: corrupted ledgers.

use payfleet::domain::ids::Kind;
use payfleet::ops::verify::{Invariant, Rest, Verdict};

use super::books::World;
use super::payments::{Step, credit};

/// Corrupts a lawful world by these statements, and expects the invariant to be violated, and to say why.
async fn rejects(invariant: Invariant, corruption: &str, saying: &str) {
    let world = World::lawful().await;
    assert_eq!(world.judge_only(invariant, Rest::Live).await.verdict(), Verdict::Held);
    world.sql(corruption).await;
    let finding = world.judge_only(invariant, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::Violated, "after {corruption}");
    assert!(finding.violations >= finding.examples.len() as u64, "{finding:?}");
    assert!(finding.examples.iter().any(|example| example.contains(saying)), "{saying}: {finding:?}");
}

#[tokio::test]
async fn money_out_of_nowhere_is_found() {
    rejects(
        Invariant::I1,
        "UPDATE ledger_entries SET amount = amount + 1 WHERE id = (SELECT max(id) FROM ledger_entries WHERE side = 'credit')",
        "credits",
    )
    .await;
}

#[tokio::test]
async fn half_an_effect_is_found() {
    rejects(
        Invariant::I1,
        "DELETE FROM ledger_entries WHERE id = (SELECT min(id) FROM ledger_entries WHERE effect = 'hold' AND side = 'debit')",
        "debits 0",
    )
    .await;
}

#[tokio::test]
async fn effects_that_balance_only_together_are_found() {
    rejects(
        Invariant::I1,
        "UPDATE ledger_entries SET amount = amount + 1 WHERE id = (SELECT min(id) FROM ledger_entries WHERE effect = 'hold' AND side = 'credit');
         UPDATE ledger_entries SET amount = amount + 1 WHERE id = (SELECT min(id) FROM ledger_entries WHERE effect = 'credit' AND side = 'debit')",
        "hold of",
    )
    .await;
}

#[tokio::test]
async fn entries_in_another_currency_than_the_payment_are_found() {
    rejects(
        Invariant::I1,
        "UPDATE ledger_entries SET currency = 'USD' WHERE transaction_id = (SELECT min(transaction_id::text)::uuid FROM ledger_entries)",
        "that is not the transaction's",
    )
    .await;
}

#[tokio::test]
async fn entries_on_another_users_account_are_found() {
    rejects(
        Invariant::I1,
        "INSERT INTO users (id, handle, country) VALUES (gen_random_uuid(), 'other', 'DE');
         INSERT INTO accounts (user_id, currency) SELECT id, 'EUR' FROM users WHERE handle = 'other';
         UPDATE ledger_entries SET account_id = (SELECT max(id) FROM accounts) WHERE account_id IS NOT NULL AND effect = 'credit'",
        "that is not the transaction's",
    )
    .await;
}

#[tokio::test]
async fn a_payment_moved_with_its_entries_to_another_users_account_is_found() {
    rejects(
        Invariant::I1,
        "INSERT INTO users (id, handle, country) VALUES (gen_random_uuid(), 'other', 'DE');
         INSERT INTO accounts (user_id, currency) SELECT id, 'EUR' FROM users WHERE handle = 'other';
         UPDATE transactions SET account_id = (SELECT max(id) FROM accounts);
         UPDATE ledger_entries SET account_id = (SELECT max(id) FROM accounts) WHERE account_id IS NOT NULL",
        "that is not the transaction's",
    )
    .await;
}

#[tokio::test]
async fn entries_and_payments_of_an_account_that_does_not_exist_are_found() {
    rejects(
        Invariant::I1,
        "ALTER TABLE ledger_entries DISABLE TRIGGER ALL; ALTER TABLE transactions DISABLE TRIGGER ALL;
         UPDATE transactions SET account_id = 4711;
         UPDATE ledger_entries SET account_id = 4711 WHERE account_id IS NOT NULL",
        "that is not the transaction's",
    )
    .await;
    // A deposit that failed: it has no entries.
    rejects(
        Invariant::I1,
        "ALTER TABLE transactions DISABLE TRIGGER ALL;
         UPDATE transactions SET account_id = 4711 WHERE type = 'deposit' AND status = 'failed'",
        "account 4711 does not exist",
    )
    .await;
}

#[tokio::test]
async fn a_balance_that_strayed_from_its_entries_is_found() {
    for column in ["available", "held", "owed"] {
        rejects(Invariant::I2, &format!("UPDATE accounts SET {column} = {column} + 1"), "entries say").await;
    }
}

#[tokio::test]
async fn an_account_that_was_once_overdrawn_is_found() {
    // The first deposit's entries come last now: the holds before them had nothing to be taken from.
    rejects(
        Invariant::I3,
        "ALTER TABLE ledger_entries DISABLE TRIGGER ALL;
         UPDATE ledger_entries SET id = DEFAULT WHERE effect = 'credit' AND account = 'available'",
        "available of account",
    )
    .await;
}

#[tokio::test]
async fn a_balance_below_zero_is_found() {
    rejects(
        Invariant::I3,
        "ALTER TABLE accounts DROP CONSTRAINT accounts_held_not_negative; UPDATE accounts SET held = -1",
        "held -1, owed 0",
    )
    .await;
}

#[tokio::test]
async fn a_missing_or_weakened_check_of_balances_is_found() {
    let gone = "the rule accounts_available_not_negative of accounts is gone";
    rejects(Invariant::I3, "ALTER TABLE accounts DROP CONSTRAINT accounts_available_not_negative", gone).await;
    rejects(
        Invariant::I3,
        "ALTER TABLE accounts DROP CONSTRAINT accounts_available_not_negative;
         ALTER TABLE accounts ADD CONSTRAINT accounts_available_not_negative CHECK (available >= 0) NOT VALID",
        gone,
    )
    .await;
    rejects(
        Invariant::I3,
        "ALTER TABLE accounts DROP CONSTRAINT accounts_held_not_negative,
                              ADD CONSTRAINT accounts_held_not_negative CHECK (held >= -100)",
        "the rule accounts_held_not_negative says",
    )
    .await;
}

#[tokio::test]
async fn a_check_of_the_same_name_on_another_table_guards_nothing() {
    rejects(
        Invariant::I3,
        "ALTER TABLE accounts DROP CONSTRAINT accounts_owed_not_negative;
         CREATE TABLE others (owed bigint CONSTRAINT accounts_owed_not_negative CHECK (owed >= 0))",
        "the rule accounts_owed_not_negative of accounts is gone",
    )
    .await;
}

#[tokio::test]
async fn an_effect_booked_twice_is_found() {
    rejects(
        Invariant::I4,
        "ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_no_effect_twice;
         INSERT INTO ledger_entries (transaction_id, version, effect, account, account_id, gateway, currency, side, amount)
         SELECT transaction_id, version, effect, account, account_id, gateway, currency, side, amount
         FROM ledger_entries WHERE effect = 'credit';
         ALTER TABLE ledger_entries ADD CONSTRAINT other UNIQUE (transaction_id, effect, account, side, id)",
        "4 entries on 2 sides",
    )
    .await;
}

#[tokio::test]
async fn an_effect_booked_by_two_steps_is_found() {
    rejects(
        Invariant::I4,
        "UPDATE ledger_entries SET version = version + 1 WHERE effect = 'credit' AND side = 'debit'",
        "by 2 steps",
    )
    .await;
}

#[tokio::test]
async fn a_hold_both_posted_and_released_is_found() {
    let mut world = World::lawful().await;
    let payment = world.settled(Kind::Withdrawal, 100).await;
    // Another payment's hold, which the second ending eats.
    world.accepted(Kind::Withdrawal, 100).await;
    world.sql("DROP INDEX ledger_entries_hold_ends_once").await;
    world.book(&payment, payment.version, ("release", "held", "debit", 100)).await;
    world.book(&payment, payment.version, ("release", "available", "credit", 100)).await;
    // The rule is put back as far as it goes, which is told as well.
    world
        .sql(
            "CREATE UNIQUE INDEX ledger_entries_hold_ends_once ON ledger_entries (transaction_id)
             WHERE account = 'held' AND effect = 'post'",
        )
        .await;
    let finding = world.judge_only(Invariant::I4, Rest::Live).await;
    assert_eq!(finding.violations, 2, "{finding:?}");
    assert!(finding.examples[0].contains("its hold ended 2 times (post, release)"), "{finding:?}");
}

#[tokio::test]
async fn a_missing_rule_against_double_effects_is_found() {
    let dropped = "ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_no_effect_twice";
    rejects(Invariant::I4, dropped, "ledger_entries_no_effect_twice of ledger_entries is gone").await;
    rejects(Invariant::I4, "DROP INDEX ledger_entries_hold_ends_once", "ledger_entries_hold_ends_once of").await;
}

#[tokio::test]
async fn a_rule_that_lets_a_hold_end_twice_is_found() {
    for predicate in ["account = 'held' AND effect = 'post'", "effect IN ('post', 'release') AND account = 'clearing'"]
    {
        rejects(
            Invariant::I4,
            &format!(
                "DROP INDEX ledger_entries_hold_ends_once;
                 CREATE UNIQUE INDEX ledger_entries_hold_ends_once ON ledger_entries (transaction_id) WHERE {predicate}"
            ),
            "the rule ledger_entries_hold_ends_once says",
        )
        .await;
    }
}

#[tokio::test]
async fn a_status_without_its_entries_is_found() {
    for (effect, what) in [("credit", "a deposit"), ("post", "a withdrawal"), ("release", "a hold")] {
        let deleted = format!("/* {what} */ DELETE FROM ledger_entries WHERE effect = '{effect}'");
        rejects(Invariant::I26, &deleted, "stands at").await;
    }
    rejects(Invariant::I26, "DELETE FROM ledger_entries WHERE effect = 'hold'", "with [post]").await;
}

#[tokio::test]
async fn entries_without_their_status_are_found() {
    let mut world = World::lawful().await;
    let mut failed = world.accepted(Kind::Deposit, 300).await;
    world.submitted(&mut failed).await;
    let step = Step { to: "failed", substatus: Some("declined"), entries: credit(300), ..Step::default() };
    world.take(&mut failed, step).await;
    let mut released = world.accepted(Kind::Withdrawal, 200).await;
    world.submitted(&mut released).await;
    let entries = vec![("release", "held", "debit", 200), ("release", "available", "credit", 200)];
    world.take(&mut released, Step { to: "unknown", entries, ..Step::default() }).await;
    let finding = world.judge_only(Invariant::I26, Rest::Live).await;
    assert_eq!(finding.violations, 2, "{finding:?}");
    assert_eq!(world.judge_only(Invariant::I1, Rest::Live).await.verdict(), Verdict::Held);
}

#[tokio::test]
async fn an_effect_of_another_amount_than_the_payment_is_found() {
    let other = "entries of another amount, account, gateway or step";
    rejects(Invariant::I26, "UPDATE ledger_entries SET amount = amount - 1 WHERE effect = 'credit'", other).await;
    rejects(Invariant::I26, "UPDATE ledger_entries SET gateway = 'paypal' WHERE gateway IS NOT NULL", other).await;
}

#[tokio::test]
async fn an_effect_on_other_accounts_than_its_own_is_found() {
    for (effect, account, other) in [
        ("credit", "available", "held"),
        ("hold", "held", "owed"),
        ("post", "held", "available"),
        ("release", "available", "owed"),
    ] {
        rejects(
            Invariant::I26,
            &format!(
                "UPDATE ledger_entries SET account = '{other}' WHERE effect = '{effect}' AND account = '{account}'"
            ),
            "entries of another amount, account, gateway or step",
        )
        .await;
    }
}

#[tokio::test]
async fn an_effect_booked_the_other_way_round_is_found() {
    for effect in ["credit", "hold", "post", "release"] {
        rejects(
            Invariant::I26,
            &format!(
                "UPDATE ledger_entries SET side = CASE side WHEN 'debit' THEN 'credit' ELSE 'debit' END WHERE effect = '{effect}'"
            ),
            "entries of another amount, account, gateway or step",
        )
        .await;
    }
}

#[tokio::test]
async fn a_credit_may_repay_what_is_owed_first() {
    let mut world = World::lawful().await;
    let mut payment = world.accepted(Kind::Deposit, 300).await;
    world.submitted(&mut payment).await;
    let (owed, rest) = (("credit", "owed", "credit", 100), ("credit", "available", "credit", 200));
    let entries = vec![("credit", "clearing", "debit", 300), owed, rest];
    world.take(&mut payment, Step { to: "succeeded", entries, ..Step::default() }).await;
    let finding = world.judge_only(Invariant::I26, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
}

/// A deposit of 300 that was taken back when 100 of it were left.
async fn taken_back(world: &mut World) -> super::payments::Payment {
    let mut payment = world.settled(Kind::Deposit, 300).await;
    let user = [("reverse", "available", "debit", 100), ("reverse", "owed", "debit", 200)];
    let entries = user.into_iter().chain([("reverse", "clearing", "credit", 300)]).collect();
    world.take(&mut payment, Step { to: "reversed", substatus: Some("chargeback"), entries, ..Step::default() }).await;
    world.sql("UPDATE accounts SET owed = owed + 200").await;
    payment
}

#[tokio::test]
async fn what_is_taken_back_is_booked_the_other_way_round_and_the_missing_is_owed() {
    let mut world = World::lawful().await;
    taken_back(&mut world).await;
    let mut returned = world.settled(Kind::Withdrawal, 120).await;
    let entries = vec![("reverse", "clearing", "debit", 120), ("reverse", "available", "credit", 120)];
    world.take(&mut returned, Step { to: "reversed", substatus: Some("returned"), entries, ..Step::default() }).await;
    for invariant in [Invariant::I1, Invariant::I2, Invariant::I3, Invariant::I4, Invariant::I26] {
        let finding = world.judge_only(invariant, Rest::Live).await;
        assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
    }
}

#[tokio::test]
async fn a_reversal_in_part_on_other_accounts_or_without_its_status_is_found() {
    let other = "entries of another amount, account, gateway or step";
    for (corruption, saying) in [
        ("UPDATE ledger_entries SET amount = amount - 1 WHERE effect = 'reverse'", other),
        ("UPDATE ledger_entries SET account = 'held' WHERE effect = 'reverse' AND account = 'available'", other),
        ("UPDATE ledger_entries SET gateway = 'bank' WHERE effect = 'reverse' AND account = 'clearing'", other),
        (
            "UPDATE ledger_entries SET side = CASE side WHEN 'debit' THEN 'credit' ELSE 'debit' END WHERE effect = 'reverse'",
            other,
        ),
        ("DELETE FROM ledger_entries WHERE effect = 'reverse'", "stands at reversed with [credit]"),
        (
            "UPDATE transactions SET status = 'succeeded', substatus = NULL WHERE status = 'reversed'",
            "stands at succeeded with [credit reverse]",
        ),
    ] {
        let mut world = World::lawful().await;
        taken_back(&mut world).await;
        world.sql(corruption).await;
        let finding = world.judge_only(Invariant::I26, Rest::Live).await;
        assert_eq!(finding.violations, 1, "after {corruption}: {finding:?}");
        assert!(finding.examples[0].contains(saying), "{saying}: {finding:?}");
    }
}
