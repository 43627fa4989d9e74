//! Guarantees of the reconciler.

mod claims;
mod sweeps;
mod whole;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use payfleet::postgres::due::{Found, Search};
use payfleet::reconciler::{Duty, Settings, sweep};
use payfleet::transactions;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const LIMIT: Duration = Duration::from_secs(30);

/// Payments that only have due times, each this far from now in milliseconds, for one gateway.
pub async fn payments(owner: &PgPool, gateway: &str, due_in_ms: &[i64]) -> Vec<Uuid> {
    let ids: Vec<Uuid> = due_in_ms.iter().map(|_| Uuid::now_v7()).collect();
    sqlx::query(
        "WITH someone AS (INSERT INTO users (id, handle, country) VALUES ($4, $4::text, 'DE') RETURNING id),
              account AS (INSERT INTO accounts (user_id, currency) SELECT id, 'EUR' FROM someone RETURNING id)
         INSERT INTO transactions (id, type, user_id, account_id, amount, currency, country, status, gateway, version, last_seq,
             due_at, submit_until, created_at, updated_at)
         SELECT p.id, 'deposit', $4, account.id, 100, 'EUR', 'DE', 'created', $1, 1, 2, now() + p.due_ms * interval '1 ms',
                now() + interval '1 hour', now(), now()
         FROM account, unnest($2::uuid[], $3::bigint[]) AS p (id, due_ms)",
    )
    .bind(gateway)
    .bind(&ids)
    .bind(due_in_ms)
    .bind(Uuid::now_v7())
    .execute(owner)
    .await
    .unwrap();
    ids
}

/// Looks at payments as the test says, and notes it.
#[derive(Clone)]
pub struct Looking {
    pool: PgPool,
    seen: Arc<Mutex<HashMap<Uuid, usize>>>,
    searches: Arc<Mutex<Vec<Search>>>,
    /// Whoever is named here waits until the name is taken away.
    pub held: watch::Sender<Vec<Uuid>>,
}

impl Looking {
    pub fn at(pool: &PgPool) -> Self {
        Self { pool: pool.clone(), seen: Arc::default(), searches: Arc::default(), held: watch::Sender::default() }
    }

    /// How often each payment was looked at.
    pub fn seen(&self) -> HashMap<Uuid, usize> {
        self.seen.lock().unwrap().clone()
    }

    pub fn has_seen(&self, all: &[Uuid]) -> bool {
        let seen = self.seen.lock().unwrap();
        all.iter().all(|id| seen.contains_key(id))
    }

    pub fn searches(&self) -> Vec<Search> {
        self.searches.lock().unwrap().clone()
    }
}

impl Duty for Looking {
    const NAME: &'static str = "test";

    async fn claim(&self, search: Search) -> Result<Found, sqlx::Error> {
        self.searches.lock().unwrap().push(search.clone());
        transactions::due::claim(&self.pool, &search, LIMIT).await
    }

    async fn attend(&self, id: Uuid) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        *self.seen.lock().unwrap().entry(id).or_default() += 1;
        self.held.subscribe().wait_for(|held| !held.contains(&id)).await?;
        Ok(())
    }
}

/// A running replica.
pub struct Replica {
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

pub fn replica(settings: Settings, looking: &Looking) -> Replica {
    let (stop, looking) = (CancellationToken::new(), looking.clone());
    let stopping = stop.clone();
    let task = tokio::spawn(async move { sweep(&settings, looking, Arc::new(Notify::new()), stopping).await });
    Replica { stop, task }
}

impl Replica {
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}
