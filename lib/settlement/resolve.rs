//! A human's word on a payment in review, committed like any other step, and with it the audit's row. On a connection of the operator's
//! own: no gateway is called, so none need be configured.
//!
//! If it dies here: step and row are one commit. Who asks again is told that the payment is not in review any more, and where it stands.

use std::sync::Arc;

use serde_json::json;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::{Applied, Applying};
use crate::audit::{self, Act};
use crate::domain::change::Change;
use crate::domain::decide::resolve::{Booked, Ruling, Unresolvable, resolve as decide};
use crate::domain::ids::PublicId;
use crate::ledger;
use crate::postgres::combiner::Batch;
use crate::service::retry::policy;
use crate::transactions::load::load;

/// The act's name in the audit.
const ACT: &str = "payment.resolve";

#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("there is no such transaction")]
    NoSuchTransaction,
    #[error(transparent)]
    Unresolvable(#[from] Unresolvable),
    #[error("it moved or was locked all the time; nothing was done")]
    Contended,
    #[error("PostgreSQL failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// The step that was taken.
pub async fn resolve(books: &mut PgConnection, id: PublicId, ruling: &Ruling) -> Result<Change, ResolveError> {
    for _ in 0..policy::OPERATOR.tries() {
        let found = load(books, &[id.id]).await?.pop().filter(|(transaction, _)| transaction.kind == id.kind);
        let (transaction, _) = found.ok_or(ResolveError::NoSuchTransaction)?;
        // Read after the payment: entries that came since came with another version, which the step then misses.
        let ledger::Booked { effects, clearing, suspended, suspended_at } = ledger::booked(books, id.id).await?;
        let booked = Booked { effects, clearing, suspended, suspended_at };
        let change = Arc::new(decide(&transaction, &booked, ruling)?);
        let mut commit = books.begin().await?;
        if Applying.run(&mut commit, &[Arc::clone(&change)]).await? == [Applied::Taken] {
            put_on_record(&mut commit, id, &change, ruling).await?;
            commit.commit().await?;
            return Ok(Arc::unwrap_or_clone(change));
        }
        commit.rollback().await?;
        tokio::time::sleep(policy::OPERATOR.first()).await;
    }
    Err(ResolveError::Contended)
}

async fn put_on_record(
    commit: &mut PgConnection,
    id: PublicId,
    change: &Change,
    ruling: &Ruling,
) -> Result<(), sqlx::Error> {
    let subject = id.to_string();
    let details = json!({ "end": ruling.end.as_str(), "moved": ruling.moved, "version": change.expected_version + 1 });
    let (actor, reason) = (&ruling.word.operator, &ruling.word.says);
    audit::record(commit, &Act { actor, act: ACT, subject: &subject, reason, details }).await.map(drop)
}
