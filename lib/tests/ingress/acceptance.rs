//! The one commit of acceptance, against a simple model: whatever arrives at once, on however many connections.

use std::collections::HashMap;
use std::time::Duration;

use payfleet::domain::ids::Kind;
use payfleet::postgres::clock::DatabaseClock;
use payfleet::postgres::combiner::{Combiner, Layout};
use payfleet::transactions::accept::{Accepting, Acceptor, Answered, Entry, Verdict};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::PgPool;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::orders::{self, User};
use crate::harness::Database;

pub fn acceptor(database: &Database, connections: usize, tasks: &TaskTracker) -> Acceptor {
    acceptor_of(Layout { connections, ..Layout::default() }, database, tasks)
}

pub fn acceptor_of(layout: Layout, database: &Database, tasks: &TaskTracker) -> Acceptor {
    let batch = Accepting { clock: DatabaseClock::default() };
    Acceptor::new(Combiner::start(batch, &database.settings(), layout, tasks))
}

/// One request of the model: who, what, how much, in which currency, under which key.
#[derive(Clone, Copy, Debug)]
struct Wish {
    user: usize,
    kind: Kind,
    amount: i64,
    enabled: bool,
    key: u8,
}

fn wish() -> impl Strategy<Value = Wish> {
    let kind = prop_oneof![2 => Just(Kind::Withdrawal), 1 => Just(Kind::Deposit)];
    (0..3_usize, kind, 1..60_i64, prop::bool::weighted(0.9), 0..40_u8)
        .prop_map(|(user, kind, amount, enabled, key)| Wish { user, kind, amount, enabled, key })
}

/// What became of each wish, with the payment that it would have been.
type Fate = (Wish, Entry, Verdict);

async fn grant(acceptors: &[Acceptor], users: &[User], wishes: &[Wish]) -> Vec<Fate> {
    let waiting = wishes.iter().enumerate().map(|(place, wish)| {
        let currency = if wish.enabled { "EUR" } else { "USD" };
        let entry = orders::entry(users[wish.user], wish.kind, wish.amount, currency, &format!("key-{}", wish.key));
        let acceptor = acceptors[place % acceptors.len()].clone();
        let wish = *wish;
        tokio::spawn(async move {
            let verdict = acceptor.accept(entry.clone()).await.unwrap();
            (wish, entry, verdict)
        })
    });
    futures_util::future::try_join_all(waiting).await.unwrap()
}

/// Every rule that acceptance promises, judged by what the requests were told and by what stands in the tables.
async fn judge(pool: &PgPool, users: &[User], opening: &[i64], fates: &[Fate]) {
    let mut accepted: HashMap<(usize, Kind, u8), &Entry> = HashMap::new();
    for (wish, entry, verdict) in fates {
        if *verdict == Verdict::Accepted {
            let earlier = accepted.insert((wish.user, wish.kind, wish.key), entry);
            assert!(earlier.is_none(), "two payments under one key: {wish:?}");
        }
    }
    for (place, user) in users.iter().enumerate() {
        let taken: i64 = fates
            .iter()
            .filter(|(wish, _, verdict)| {
                wish.user == place && wish.kind == Kind::Withdrawal && *verdict == Verdict::Accepted
            })
            .map(|(wish, ..)| wish.amount)
            .sum();
        let (available, held) = orders::balance(pool, *user).await;
        assert_eq!((available, held), (opening[place] - taken, taken), "balances are not the sum of what was taken");
        for (wish, _, verdict) in fates.iter().filter(|(wish, ..)| wish.user == place) {
            let first = accepted.get(&(wish.user, wish.kind, wish.key));
            match verdict {
                Verdict::Accepted => assert!(wish.enabled),
                // Money only leaves these accounts, so whoever was refused must find too little to the end.
                Verdict::InsufficientFunds => {
                    assert!(
                        wish.kind == Kind::Withdrawal && wish.amount > available,
                        "refused with {available} left: {wish:?}"
                    );
                }
                Verdict::NotEnabled => assert!(!wish.enabled),
                Verdict::Answered(answered) => {
                    let first = first.expect("an answer that no payment gave");
                    let Answered { transaction_id, reply, order_hash } = answered;
                    assert_eq!((*transaction_id, reply), (first.acceptance.id, &first.reply));
                    assert_eq!(order_hash.as_slice(), first.order_hash);
                }
            }
        }
    }
    let ids: Vec<Uuid> = accepted.values().map(|entry| entry.acceptance.id).collect();
    judge_rows(pool, users, &ids).await;
}

/// Nothing but the accepted payments left rows, and each left all of its.
async fn judge_rows(pool: &PgPool, users: &[User], accepted: &[Uuid]) {
    let owners: Vec<Uuid> = users.iter().map(|user| user.id).collect();
    let (payments, keys, steps): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM transactions WHERE user_id = ANY ($1) AND id = ANY ($2) AND version = 1 AND last_seq = 2),
                (SELECT count(*) FROM idempotency_keys WHERE user_id = ANY ($1) AND transaction_id = ANY ($2)),
                (SELECT count(*) FROM transitions WHERE transaction_id = ANY ($2) AND event_seq = 1 AND command_seq = 2)",
    )
    .bind(&owners)
    .bind(accepted)
    .fetch_one(pool)
    .await
    .unwrap();
    let count = accepted.len() as i64;
    assert_eq!((payments, keys, steps), (count, count, count));
    let (all_payments, all_keys): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM transactions WHERE user_id = ANY ($1)), (SELECT count(*) FROM idempotency_keys WHERE user_id = ANY ($1))",
    )
    .bind(&owners)
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!((all_payments, all_keys), (count, count), "a refused request left a row");
    let sums_wrong: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM accounts a
         WHERE a.user_id = ANY ($1)
           AND a.held <> coalesce((SELECT sum(CASE side WHEN 'credit' THEN amount ELSE -amount END)
                                   FROM ledger_entries e WHERE e.account_id = a.id AND e.account = 'held'), 0)",
    )
    .bind(&owners)
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(sums_wrong, 0, "held is not the fold of its entries");
    let ordered: Vec<(Uuid, Vec<i64>, bool)> = sqlx::query_as(
        "SELECT aggregate, array_agg(seq ORDER BY id), (array_agg(topic ORDER BY id))[1] = 'payments.events'
         FROM outbox WHERE aggregate = ANY ($1) GROUP BY aggregate",
    )
    .bind(accepted)
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(ordered.len(), accepted.len());
    assert!(ordered.iter().all(|(_, seqs, event_first)| seqs == &[1, 2] && *event_first), "{ordered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_arrives_at_once_nobody_overdraws_and_no_key_pays_twice() {
    let database = Database::new().await;
    let tasks = TaskTracker::new();
    let acceptors = [acceptor(&database, 2, &tasks), acceptor(&database, 2, &tasks)];
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let runtime = tokio::runtime::Handle::current();
    let pool = database.owner.clone();
    let outcome = tokio::task::block_in_place(|| {
        runner.run(&(prop::collection::vec(wish(), 1..160), [0..900_i64, 0..300, 0..100]), |(wishes, opening)| {
            runtime.block_on(async {
                let mut users = Vec::new();
                for available in opening {
                    users.push(orders::user_with(&pool, available).await);
                }
                let fates = grant(&acceptors, &users, &wishes).await;
                judge(&pool, &users, &opening, &fates).await;
            });
            Ok(())
        })
    });
    outcome.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deposits_and_withdrawals_of_the_same_accounts_never_deadlock() {
    let database = Database::new().await;
    let tasks = TaskTracker::new();
    // Nobody is to give up before the last of them is served.
    let layout = Layout { connections: 2, patience: Duration::from_secs(30), ..Layout::default() };
    let acceptors: Vec<Acceptor> = (0..3).map(|_| acceptor_of(layout, &database, &tasks)).collect();
    let mut users = Vec::new();
    for _ in 0..4 {
        users.push(orders::user_with(&database.owner, 1_000_000).await);
    }
    let wishes: Vec<Wish> = (0..3_000)
        .map(|n| Wish {
            user: n % 4,
            kind: if n % 3 == 0 { Kind::Deposit } else { Kind::Withdrawal },
            amount: 1,
            enabled: true,
            key: 0,
        })
        .collect();
    let waiting = wishes.iter().enumerate().map(|(n, wish)| {
        let entry = orders::entry(users[wish.user], wish.kind, 1, "EUR", &format!("k{n}"));
        let acceptor = acceptors[n % acceptors.len()].clone();
        tokio::spawn(async move { acceptor.accept(entry).await.unwrap() })
    });
    let verdicts = futures_util::future::try_join_all(waiting).await.unwrap();
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Accepted));
    let deadlocks: i64 =
        sqlx::query_scalar("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            .fetch_one(&database.owner)
            .await
            .unwrap();
    assert_eq!(deadlocks, 0, "statements waited for each other in two orders");
}
