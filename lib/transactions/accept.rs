//! Acceptance: idempotency key, payment, hold, first transition and outbox rows, for many requests in one statement and one commit.
//!
//! If it dies here: the statement happened or did not. Run again with the same payments it says the same, because a key that is
//! already ours counts as accepted; run by a client with the same key, it gives the first answer back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::accept_columns::Columns;
use crate::domain::accept::Acceptance;
use crate::domain::ids::Kind;
use crate::postgres::clock::DatabaseClock;
use crate::postgres::combiner::{Batch, Combiner, Refused};
use crate::sealing::Sealed;
use crate::service::failpoint::{self, Window};
use crate::service::planted::{self, Bug};
use crate::service::retry::policy;

/// Tries in company before a request runs in a statement of its own, where nobody's key can cross it.
const IN_COMPANY: usize = policy::CROSSED.tries();
/// Even alone a request can meet its own key under way elsewhere.
const IN_ALL: usize = IN_COMPANY + policy::ALONE.tries();

/// What an idempotency key belongs to, beside the user.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint(pub Kind);

impl Endpoint {
    /// Method and path, as stored.
    pub fn as_str(self) -> &'static str {
        match self.0 {
            Kind::Deposit => "POST /v1/deposits",
            Kind::Withdrawal => "POST /v1/withdrawals",
        }
    }
}

/// An answer as it was first given, to the byte.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub status: i16,
    pub content_type: String,
    pub body: Vec<u8>,
}

/// What stands under a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered {
    pub transaction_id: Uuid,
    pub order_hash: Vec<u8>,
    pub reply: Reply,
}

/// A payment to be accepted, with the answer that its key will have from then on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub acceptance: Acceptance,
    /// Of withdrawals.
    pub destination: Option<Sealed>,
    pub key: String,
    /// Keyed hash of the order, so that another order under the same key is noticed and nothing about it can be guessed.
    pub order_hash: [u8; 32],
    pub reply: Reply,
    pub traceparent: Option<String>,
}

impl Entry {
    pub fn endpoint(&self) -> Endpoint {
        Endpoint(self.acceptance.order.kind)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Committed, by this statement or by an earlier run of it.
    Accepted,
    /// Nothing was done: the key has an answer already.
    Answered(Answered),
    /// Nothing was done: the user has no account in this currency.
    NotEnabled,
    /// Nothing was done, and nothing is stored: the account has too little.
    InsufficientFunds,
}

/// Accepts payments. Cheap to clone.
#[derive(Clone)]
pub struct Acceptor(Combiner<Accepting>);

impl Acceptor {
    pub fn new(combiner: Combiner<Accepting>) -> Self {
        Self(combiner)
    }

    /// Returns after the commit, or after it is known that there was none.
    pub async fn accept(&self, entry: Entry) -> Result<Verdict, Refused> {
        let in_doubt = Arc::new(AtomicBool::new(false));
        let request = Request { entry: Arc::new(entry), alone: false, in_doubt: Arc::clone(&in_doubt) };
        self.insist(request).await.map_err(|refused| match refused {
            // A run whose connection was lost may still be under way, and be the very one that has the account.
            Refused::Unavailable if in_doubt.load(Ordering::Relaxed) && !planted::is(Bug::DoubtToldAsRefusal) => {
                Refused::OutcomeUnknown
            }
            refused => refused,
        })
    }

    async fn insist(&self, request: Request) -> Result<Verdict, Refused> {
        let mut turns = self.0.turns();
        let mut crossed = 0;
        while crossed < IN_ALL {
            let request = Request { alone: crossed >= IN_COMPANY, ..request.clone() };
            match self.0.submit(request).await? {
                Found::Certain(verdict) => return Ok(verdict),
                Found::Crossed => {
                    metrics::counter!("payfleet_accept_crossed_total").increment(1);
                    crossed += 1;
                }
                Found::Busy => {
                    metrics::counter!("payfleet_accept_busy_total").increment(1);
                    turns.wait().await?;
                }
            }
        }
        // Every try met a key that was being claimed elsewhere and then was not there.
        Err(Refused::Unavailable)
    }
}

/// What the statement says of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    Certain(Verdict),
    /// Another statement crossed it and nothing is certain; to be submitted again.
    Crossed,
    /// Another session has the account; to be submitted again.
    Busy,
}

#[derive(Clone)]
pub struct Request {
    entry: Arc<Entry>,
    /// In a statement of its own.
    alone: bool,
    /// A run of it was cut off.
    in_doubt: Arc<AtomicBool>,
}

/// The statement.
#[derive(Clone)]
pub struct Accepting {
    pub clock: DatabaseClock,
}

impl Batch for Accepting {
    type Request = Request;
    type Reply = Found;
    type Key = (Uuid, Endpoint, String);

    const NAME: &'static str = "accept";

    fn in_doubt(request: &Request) {
        request.in_doubt.store(true, Ordering::Relaxed);
    }

    fn key(request: &Request) -> Option<Self::Key> {
        let entry = &request.entry;
        Some((entry.acceptance.user_id, entry.endpoint(), entry.key.clone()))
    }

    async fn run(&self, connection: &mut PgConnection, requests: &[Request]) -> Result<Vec<Found>, sqlx::Error> {
        let (alone, together): (Vec<_>, Vec<_>) = requests.iter().enumerate().partition(|(_, request)| request.alone);
        let groups = std::iter::once(together).chain(alone.into_iter().map(|one| vec![one]));
        let mut verdicts: Vec<Found> = vec![Found::Crossed; requests.len()];
        for group in groups.filter(|group| !group.is_empty()) {
            let entries: Vec<&Entry> = group.iter().map(|(_, request)| request.entry.as_ref()).collect();
            let found = self.accept_group(connection, &entries).await?;
            for ((place, _), verdict) in group.iter().zip(found) {
                verdicts[*place] = verdict;
            }
        }
        Ok(verdicts)
    }
}

impl Accepting {
    async fn accept_group(&self, connection: &mut PgConnection, entries: &[&Entry]) -> Result<Vec<Found>, sqlx::Error> {
        // Whoever dies there has sent the statement, and has not seen its reply.
        let columns = Columns::of(entries);
        let (rows, ()) = tokio::join!(columns.run(connection), failpoint::reached(Window::C2));
        let rows = rows?;
        if let Some(row) = rows.first() {
            self.clock.heard(row.now);
        }
        let mut verdicts = Vec::with_capacity(entries.len());
        for (entry, row) in entries.iter().zip(rows) {
            verdicts.push(match row.verdict.as_str() {
                "accepted" => Found::Certain(Verdict::Accepted),
                "answered" => {
                    row.answered().map_or(Found::Crossed, |answered| Found::Certain(Verdict::Answered(answered)))
                }
                "not_enabled" => Found::Certain(Verdict::NotEnabled),
                "short" => Found::Certain(still_short(connection, entry).await?),
                "busy" => Found::Busy,
                _ => Found::Crossed,
            });
        }
        Ok(verdicts)
    }
}

/// The statement looked for the key before it locked the account. In between, the very same request may have been committed elsewhere
/// and have taken the money itself; only a look after that tells.
async fn still_short(connection: &mut PgConnection, entry: &Entry) -> Result<Verdict, sqlx::Error> {
    let answered = find(connection, entry.acceptance.user_id, entry.endpoint(), &entry.key).await?;
    Ok(match answered {
        None => Verdict::InsufficientFunds,
        Some(answered) if answered.transaction_id == entry.acceptance.id => Verdict::Accepted,
        Some(answered) => Verdict::Answered(answered),
    })
}

/// What stands under a key, if anything was ever committed under it.
pub async fn find(
    connection: &mut PgConnection,
    user_id: Uuid,
    endpoint: Endpoint,
    key: &str,
) -> Result<Option<Answered>, sqlx::Error> {
    let row = sqlx::query_file!("lib/transactions/sql/accept_find.sql", user_id, endpoint.as_str(), key)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| Answered {
        transaction_id: row.transaction_id,
        order_hash: row.command_hash,
        reply: Reply { status: row.reply_status, content_type: row.reply_type, body: row.reply_body },
    }))
}

/// One row of the statement's answer.
pub(super) struct Row {
    pub verdict: String,
    pub answered_id: Option<Uuid>,
    pub order_hash: Option<Vec<u8>>,
    pub reply_status: Option<i16>,
    pub reply_type: Option<String>,
    pub reply_body: Option<Vec<u8>>,
    pub now: OffsetDateTime,
}

impl Row {
    fn answered(self) -> Option<Answered> {
        let reply = Reply { status: self.reply_status?, content_type: self.reply_type?, body: self.reply_body? };
        Some(Answered { transaction_id: self.answered_id?, order_hash: self.order_hash?, reply })
    }
}
