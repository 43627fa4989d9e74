//! Payments of the world: each step as the fleet would have committed it, and what the gateway and the client saw of it.

use payfleet::domain::event;
use payfleet::domain::ids::{Kind, Operation, PublicId};
use serde_json::{Value, json};
use uuid::Uuid;

use super::books::{World, now, sha256};
use super::topics::Record;

/// A payment of the world, as far as it has come.
#[derive(Clone)]
pub struct Payment {
    pub id: Uuid,
    pub kind: Kind,
    pub amount: i64,
    pub key: String,
    pub version: i64,
    pub seq: i64,
    pub status: &'static str,
    pub attempt: Uuid,
    pub number: i16,
}

/// (effect, account, side, amount)
pub type Entry = (&'static str, &'static str, &'static str, i64);

/// One step of a payment.
#[derive(Clone, Default)]
pub struct Step {
    pub to: &'static str,
    pub substatus: Option<&'static str>,
    pub command: bool,
    pub reason: Option<&'static str>,
    /// If it is another than the usual one.
    pub cause: Option<String>,
    pub entries: Vec<Entry>,
}

impl World {
    /// Accepted, submitted, succeeded.
    pub async fn settled(&mut self, kind: Kind, amount: i64) -> Payment {
        let mut payment = self.accepted(kind, amount).await;
        self.submitted(&mut payment).await;
        self.succeeded(&mut payment).await;
        payment
    }

    pub async fn declined(&mut self, kind: Kind, amount: i64) -> Payment {
        let mut payment = self.accepted(kind, amount).await;
        self.submitted(&mut payment).await;
        self.charge(&payment, "declined", amount);
        let entries = match kind {
            Kind::Deposit => Vec::new(),
            Kind::Withdrawal => {
                vec![("release", "held", "debit", amount), ("release", "available", "credit", amount)]
            }
        };
        self.take(&mut payment, Step { to: "failed", substatus: Some("declined"), entries, ..Step::default() }).await;
        payment
    }

    /// A deposit whose success a callback brought.
    pub async fn told(&mut self, amount: i64) {
        let mut payment = self.accepted(Kind::Deposit, amount).await;
        self.submitted(&mut payment).await;
        self.charge(&payment, "succeeded", amount);
        let callback = self.callback_about(Some(&payment), "applied").await;
        let cause = Some(format!("callback:{callback}"));
        self.take(&mut payment, Step { to: "succeeded", cause, entries: credit(amount), ..Step::default() }).await;
    }

    /// A deposit that its customer had to approve.
    pub async fn approved(&mut self, amount: i64) {
        let mut payment = self.accepted(Kind::Deposit, amount).await;
        self.submitted(&mut payment).await;
        self.charge(&payment, "awaiting_customer", amount);
        self.take(&mut payment, Step { to: "requires_action", ..Step::default() }).await;
        let cause = Some(format!("begin:capture:{}", Uuid::now_v7()));
        self.take(&mut payment, Step { to: "submitting", command: true, cause, ..Step::default() }).await;
        self.operation(&payment, Operation::Capture).await;
        self.state(&payment, "captured");
        self.take(&mut payment, Step { to: "succeeded", entries: credit(amount), ..Step::default() }).await;
    }

    pub async fn accepted(&mut self, kind: Kind, amount: i64) -> Payment {
        let id = Uuid::now_v7();
        let key = format!("key-{}", id.simple());
        let mut payment =
            Payment { id, kind, amount, key, version: 0, seq: 0, status: "", attempt: Uuid::now_v7(), number: 0 };
        let destination = matches!(kind, Kind::Withdrawal);
        sqlx::query(
            "INSERT INTO transactions (id, type, user_id, account_id, amount, currency, country, status, gateway, version, last_seq,
                                       due_at, submit_until, created_at, updated_at, destination_kind, destination_last4,
                                       destination_sealed, destination_key_id)
             VALUES ($1, $2, $3, $4, $5, 'EUR', 'DE', 'created', 'stripe', 1, 0, now(), now() + interval '15 minutes', now(), now(),
                     CASE WHEN $6 THEN 'iban' END, CASE WHEN $6 THEN '3000' END, CASE WHEN $6 THEN '\\x00'::bytea END,
                     CASE WHEN $6 THEN 'k1' END)",
        )
        .bind(id)
        .bind(kind.as_str())
        .bind(self.user)
        .bind(self.account)
        .bind(amount)
        .bind(destination)
        .execute(self.owner())
        .await
        .unwrap();
        let entries = match kind {
            Kind::Deposit => Vec::new(),
            Kind::Withdrawal => vec![("hold", "available", "debit", amount), ("hold", "held", "credit", amount)],
        };
        self.take(&mut payment, Step { to: "created", command: true, entries, ..Step::default() }).await;
        self.answered(&payment).await;
        payment
    }

    /// The key, its stored answer, and what the client saw: the first answer was lost, the resend replayed it.
    async fn answered(&mut self, payment: &Payment) {
        let public = PublicId { kind: payment.kind, id: payment.id };
        let body =
            json!({ "id": public.to_string(), "status": "created", "amount": payment.amount, "currency": "EUR" })
                .to_string();
        sqlx::query(
            "INSERT INTO idempotency_keys (user_id, endpoint, key, command_hash, transaction_id, reply_status, reply_type, reply_body)
             VALUES ($1, $2, $3, sha256('command'), $4, 202, 'application/json', $5)",
        )
        .bind(self.user)
        .bind(format!("POST /v1/{}s", payment.kind.as_str()))
        .bind(&payment.key)
        .bind(payment.id)
        .bind(body.as_bytes())
        .execute(self.owner())
        .await
        .unwrap();
        let line = |event: Value| line_of(&payment.key, event);
        let (amount, kind) = (payment.amount, payment.kind.as_str());
        let intent = line(json!({ "event": "intent", "kind": kind, "amount": amount, "currency": "EUR" }));
        let lost = line(json!({ "event": "lost", "why": "connection reset" }));
        let hash = sha256(body.as_bytes());
        let answer =
            line(json!({ "event": "answer", "status": 202, "sha256": hash, "transaction": public.to_string() }));
        self.requests.extend([intent, lost, answer]);
    }

    /// One that had too little money.
    pub async fn refused_request(&mut self) {
        let key = "key-refused";
        let intent = json!({ "event": "intent", "kind": "withdrawal", "amount": 9_000_000, "currency": "EUR" });
        let answer = json!({ "event": "answer", "status": 402, "sha256": sha256(b"{}"), "transaction": null });
        self.requests.extend([line_of(key, intent), line_of(key, answer)]);
    }

    pub async fn submitted(&mut self, payment: &mut Payment) {
        payment.number += 1;
        payment.attempt = Uuid::now_v7();
        let cause = Some(format!("begin:create:{}", payment.attempt));
        self.take(payment, Step { to: "submitting", cause, ..Step::default() }).await;
        self.attempt(payment).await;
        self.operation(payment, Operation::Create).await;
    }

    pub async fn attempt(&mut self, payment: &Payment) {
        sqlx::query("INSERT INTO attempts (id, transaction_id, number, round, gateway, state) VALUES ($1, $2, $3, 0, 'stripe', 'open')")
            .bind(payment.attempt)
            .bind(payment.id)
            .bind(payment.number)
            .execute(self.owner())
            .await
            .unwrap();
    }

    /// The operation's row, and the request at the gateway.
    async fn operation(&mut self, payment: &Payment, operation: Operation) {
        sqlx::query("INSERT INTO operations (attempt_id, kind, key, calls, send_by) VALUES ($1, $2, $3, 1, now())")
            .bind(payment.attempt)
            .bind(operation.as_str())
            .bind(operation.key(payment.attempt))
            .execute(self.owner())
            .await
            .unwrap();
        self.request(&operation.key(payment.attempt), payment.attempt);
    }

    pub fn request(&mut self, key: &str, attempt: Uuid) {
        self.charges.push(json!({
            "entry": "request", "gateway": "stripe", "operation": "create", "money_moving": true, "key": key, "attempt_id": attempt,
            "transaction_id": null, "reference": null, "amount": null, "currency": null, "arrived_at": now(), "answer": "executed",
        }));
    }

    pub async fn succeeded(&mut self, payment: &mut Payment) {
        self.charge(payment, "succeeded", payment.amount);
        let entries = match payment.kind {
            Kind::Deposit => credit(payment.amount),
            Kind::Withdrawal => {
                vec![("post", "held", "debit", payment.amount), ("post", "clearing", "credit", payment.amount)]
            }
        };
        self.take(payment, Step { to: "succeeded", entries, ..Step::default() }).await;
    }

    pub fn charge(&mut self, payment: &Payment, result: &str, amount: i64) {
        let key = Operation::Create.key(payment.attempt);
        self.charges.push(json!({
            "entry": "charge", "gateway": "stripe", "reference": format!("pi_{}", payment.attempt.simple()), "key": key,
            "attempt_id": payment.attempt, "transaction_id": payment.id, "direction": payment.kind.as_str(), "amount": amount,
            "currency": "EUR", "result": result, "fingerprint": "f", "at": now(),
        }));
    }

    pub fn state(&mut self, payment: &Payment, state: &str) {
        let reference = format!("pi_{}", payment.attempt.simple());
        let line =
            json!({ "entry": "state", "gateway": "stripe", "reference": reference, "state": state, "at": now() });
        self.charges.push(line);
    }

    /// A step: the transition, its event and command, its entries, the payment itself.
    pub async fn take(&mut self, payment: &mut Payment, step: Step) {
        let (before, version) = (payment.status, payment.version + 1);
        let event =
            json!({ "transaction_id": payment.id, "version": version, "status": step.to }).to_string().into_bytes();
        let event_seq = self.emit(payment, event::EVENTS, &event);
        let mut command = None;
        if step.command {
            let (act, attempt) =
                if step.to == "created" { ("create", payment.number + 1) } else { ("capture", payment.number) };
            let payload = json!({ "transaction_id": payment.id, "act": act, "attempt": attempt, "gateway": "stripe", "version": version });
            let payload = payload.to_string().into_bytes();
            let seq = self.emit(payment, "payments.commands.stripe", &payload);
            command = Some((seq, event::hash(&payload)));
        }
        payment.version = version;
        payment.status = step.to;
        sqlx::query(
            "INSERT INTO transitions (transaction_id, version, from_status, to_status, to_substatus, cause, actor, attempt, gateway,
                                      event_seq, event_hash, command_seq, command_hash, command_topic, reason_code)
             VALUES ($1, $2, nullif($3, ''), $4, $5, coalesce($12, 'step:' || $2), 'worker', $6, 'stripe', $7, $8, $9, $10,
                     CASE WHEN $9 IS NOT NULL THEN 'payments.commands.stripe' END, $11)",
        )
        .bind(payment.id)
        .bind(version)
        .bind(before)
        .bind(step.to)
        .bind(step.substatus)
        .bind(payment.number)
        .bind(event_seq)
        .bind(event::hash(&event))
        .bind(command.as_ref().map(|(seq, _)| *seq))
        .bind(command.map(|(_, hash)| hash))
        .bind(step.reason)
        .bind(step.cause)
        .execute(self.owner())
        .await
        .unwrap();
        sqlx::query(
            "UPDATE transactions SET version = $2, last_seq = $3, status = $4, substatus = $5, attempt = $6, reason_code = $7,
                                     next_action_url = 'x:'
             WHERE id = $1",
        )
        .bind(payment.id)
        .bind(version)
        .bind(payment.seq)
        .bind(step.to)
        .bind(step.substatus)
        .bind(payment.number)
        .bind(step.reason)
        .execute(self.owner())
        .await
        .unwrap();
        for entry in step.entries {
            self.book(payment, version, entry).await;
        }
    }

    fn emit(&mut self, payment: &mut Payment, topic: &str, payload: &[u8]) -> i64 {
        payment.seq += 1;
        self.records.push(Record::of(topic, payment.id, payment.seq, payload));
        payment.seq
    }

    pub async fn book(&mut self, payment: &Payment, version: i64, entry: Entry) {
        let (effect, account, side, amount) = entry;
        let users = matches!(account, "available" | "held" | "owed");
        sqlx::query(
            "WITH entry AS (
                 INSERT INTO ledger_entries (transaction_id, version, effect, account, account_id, gateway, currency, side, amount)
                 VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN $6 END, CASE WHEN NOT $5 THEN 'stripe' END, 'EUR', $7, $8))
             UPDATE accounts
             SET available = available + CASE WHEN $4 = 'available' THEN $9 ELSE 0 END,
                 held = held + CASE WHEN $4 = 'held' THEN $9 ELSE 0 END
             WHERE id = $6",
        )
        .bind(payment.id)
        .bind(version)
        .bind(effect)
        .bind(account)
        .bind(users)
        .bind(self.account)
        .bind(side)
        .bind(amount)
        .bind(if side == "credit" { amount } else { -amount })
        .execute(self.owner())
        .await
        .unwrap();
    }
}

pub fn credit(amount: i64) -> Vec<Entry> {
    vec![("credit", "clearing", "debit", amount), ("credit", "available", "credit", amount)]
}

fn line_of(key: &str, mut event: Value) -> Value {
    event["at"] = json!(now());
    event["key"] = json!(key);
    event
}
