//! Payments in a database of the test's own, with a settlement over scripted gateways.

use std::sync::Arc;

use base64::Engine;
use payfleet::domain::destination::Destination;
use payfleet::domain::event::{Act, Command};
use payfleet::domain::ids::Kind;
use payfleet::domain::route::Route;
use payfleet::gateway::{Gateway, Gateways};
use payfleet::outbox::doorbell::Doorbell;
use payfleet::routing::{self, Routing};
use payfleet::sealing::{self, Sealer};
use payfleet::service::secret::Secret;
use payfleet::settlement::{self, Foundation, Settlement};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::Database;
use super::scripted::{Script, Scripted};

pub struct Fleet {
    pub database: Database,
    pub settlement: Settlement,
    pub stripe: Script,
    pub bank: Script,
    pub account: i64,
    user: Uuid,
    sealer: Sealer,
    stop: CancellationToken,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn sealer() -> Sealer {
    let key = base64::engine::general_purpose::STANDARD.encode([7_u8; 32]);
    Sealer::new(&sealing::Settings { keys: Secret::new(format!("test:{key}")) }).unwrap()
}

impl Fleet {
    /// One user with an account in EUR that holds `available`, routed to stripe first, then bank.
    pub async fn with(available: i64) -> Self {
        let stripe = Script::default();
        let scripted = Arc::new(Scripted { name: "stripe", script: stripe.clone() });
        Self::made(available, scripted, stripe).await
    }

    /// The same with an adapter for stripe instead of a script.
    pub async fn with_stripe(available: i64, stripe: Arc<dyn Gateway>) -> Self {
        Self::made(available, stripe, Script::default()).await
    }

    async fn made(available: i64, at_stripe: Arc<dyn Gateway>, stripe: Script) -> Self {
        let (database, bank) = (Database::new().await, Script::default());
        let at_bank: Arc<dyn Gateway> = Arc::new(Scripted { name: "bank", script: bank.clone() });
        let gateways = Gateways::new(vec![at_stripe, at_bank]);
        let route =
            |priority, gateway: &str| Route { country: None, currency: None, priority, gateway: gateway.into() };
        let mut connection = database.app.acquire().await.unwrap();
        routing::upsert(&mut connection, &["stripe", "bank"], &[route(1, "stripe"), route(2, "bank")]).await.unwrap();
        drop(connection);

        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let routing = Routing::start(database.app.clone(), &gateways, &tracker, stop.clone());
        routing.loaded().await;
        let foundation = Foundation {
            pool: database.app.clone(),
            postgres: database.settings(),
            gateways,
            routing,
            sealer: sealer(),
            doorbell: Doorbell::start(&database.settings(), &tracker, stop.clone()),
        };
        let settlement = Settlement::start(&settlement::Settings::default(), foundation, &tracker).unwrap();
        let user = Uuid::now_v7();
        sqlx::query("INSERT INTO users (id, handle, country) VALUES ($1, $1::text, 'DE')")
            .bind(user)
            .execute(&database.owner)
            .await
            .unwrap();
        let account = sqlx::query_scalar(
            "INSERT INTO accounts (user_id, currency, available) VALUES ($1, 'EUR', $2) RETURNING id",
        )
        .bind(user)
        .bind(available)
        .fetch_one(&database.owner)
        .await
        .unwrap();
        Self { database, settlement, stripe, bank, account, user, sealer: sealer(), stop }
    }

    /// A payment as acceptance leaves it: created, its money held if it is a withdrawal.
    pub async fn accepted(&self, kind: Kind, amount: i64) -> Uuid {
        let id = Uuid::now_v7();
        let sealed = (kind == Kind::Withdrawal).then(|| {
            let plain = serde_json::to_vec(&Destination::Iban("DE89370400440532013000".into())).unwrap();
            self.sealer.seal(&sealing::aad(id, "destination"), &plain)
        });
        let (key_id, bytes) = sealed.map(|sealed| (sealed.key_id, sealed.bytes)).unzip();
        sqlx::query(
            "INSERT INTO transactions (id, type, user_id, account_id, amount, currency, country, destination_kind, destination_last4,
                 destination_key_id, destination_sealed, status, gateway, version, last_seq, due_at, submit_until, created_at, updated_at)
             SELECT $1, $2, $3, $4, $5, 'EUR', 'DE', CASE WHEN $6::text IS NOT NULL THEN 'iban' END,
                    CASE WHEN $6 IS NOT NULL THEN '3000' END, $6, $7, 'created', 'stripe', 1, 2, now() + interval '15 s',
                    now() + interval '15 min', now(), now()",
        )
        .bind(id)
        .bind(kind.as_str())
        .bind(self.user)
        .bind(self.account)
        .bind(amount)
        .bind(key_id)
        .bind(bytes)
        .execute(&self.database.owner)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO transitions (transaction_id, version, to_status, cause, actor, attempt, gateway, event_seq, event_hash,
                 command_seq, command_hash, command_topic)
             VALUES ($1, 1, 'created', 'accept', 'client', 0, 'stripe', 1, '', 2, '', 'payments.commands.stripe')",
        )
        .bind(id)
        .execute(&self.database.owner)
        .await
        .unwrap();
        if kind == Kind::Withdrawal {
            self.hold(id, amount).await;
        }
        id
    }

    async fn hold(&self, id: Uuid, amount: i64) {
        sqlx::query(
            "WITH moved AS (UPDATE accounts SET available = available - $3, held = held + $3 WHERE id = $2)
             INSERT INTO ledger_entries (transaction_id, version, effect, account, account_id, currency, side, amount)
             VALUES ($1, 1, 'hold', 'available', $2, 'EUR', 'debit', $3), ($1, 1, 'hold', 'held', $2, 'EUR', 'credit', $3)",
        )
        .bind(id)
        .bind(self.account)
        .bind(amount)
        .execute(&self.database.owner)
        .await
        .unwrap();
    }

    /// The command that acceptance emits.
    pub fn first_command(id: Uuid) -> Command {
        Command { transaction_id: id, act: Act::Create, attempt: 1, gateway: "stripe".into(), version: 1, calls: 0 }
    }

    /// The relay has passed everything that there is so far.
    pub async fn passed(&self) {
        sqlx::query(
            "INSERT INTO checkpoints (lane, epoch, from_snapshot, system_identifier, timeline)
                 SELECT lane, 1, pg_current_snapshot(), 0, 0 FROM lanes",
        )
        .execute(&self.database.owner)
        .await
        .unwrap();
    }

    /// (available, held, owed)
    pub async fn balances(&self) -> (i64, i64, i64) {
        sqlx::query_as("SELECT available, held, owed FROM accounts WHERE id = $1")
            .bind(self.account)
            .fetch_one(&self.database.owner)
            .await
            .unwrap()
    }

    /// (status, version)
    pub async fn status(&self, id: Uuid) -> (String, i64) {
        sqlx::query_as("SELECT status, version FROM transactions WHERE id = $1")
            .bind(id)
            .fetch_one(&self.database.owner)
            .await
            .unwrap()
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.database.owner).await.unwrap()
    }
}
