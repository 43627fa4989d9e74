//! Small acts on a payment that are no step: they change neither status nor version.

use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::change::AttemptChange;
use crate::domain::status::AttemptState;

/// Sets when the payment is looked at again, if it still stands at `version`. `None` only for what is final.
pub async fn look_again(
    pool: &PgPool,
    id: Uuid,
    version: i64,
    due_in: Option<Duration>,
    asks: i16,
) -> Result<(), sqlx::Error> {
    let due_ms = due_in.map(|wait| wait.as_millis() as i64);
    sqlx::query!(
        "UPDATE transactions SET due_at = clock_timestamp() + $3::bigint * interval '1 millisecond', asks = $4
         WHERE id = $1 AND version = $2",
        id,
        version,
        due_ms,
        asks
    )
    .execute(pool)
    .await
    .map(drop)
}

/// Keeps news about an attempt that do not move its payment. What is known is never forgotten for something vaguer.
pub async fn note_attempt(pool: &PgPool, news: &AttemptChange) -> Result<(), sqlx::Error> {
    let yielding: Vec<String> = AttemptState::ALL
        .into_iter()
        .filter(|known| known.yields_to(news.state))
        .map(|known| known.as_str().to_owned())
        .collect();
    sqlx::query!(
        "UPDATE attempts
         SET state = CASE WHEN state = ANY ($6) THEN $2 ELSE state END, reference = coalesce($3, reference), gateway_code = coalesce($4, gateway_code),
             gateway_text = coalesce($5, gateway_text), updated_at = clock_timestamp()
         WHERE id = $1",
        news.id,
        news.state.as_str(),
        news.reference,
        news.gateway_code,
        news.gateway_text,
        &yielding
    )
    .execute(pool)
    .await
    .map(drop)
}

/// The relay has passed the payment's latest command, or a worker has begun what it orders: it is on its topic. An order to ask counts like
/// any other, though the one to send may have left before it: that costs one more question.
pub async fn is_delivered(pool: &PgPool, id: Uuid, lane: i16) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT pg_visible_in_snapshot(
                      t.xid,
                      (SELECT c.from_snapshot FROM checkpoints c WHERE c.lane = $2 ORDER BY c.epoch DESC, c.id DESC LIMIT 1))
                  OR EXISTS (SELECT FROM transitions b WHERE b.transaction_id = $1 AND b.version > t.version AND b.cause LIKE 'begin:%')
           FROM transitions t
           WHERE t.transaction_id = $1 AND t.command_seq IS NOT NULL
           ORDER BY t.version DESC
           LIMIT 1"#,
        id,
        lane
    )
    .fetch_optional(pool)
    .await
    .map(|passed| passed.flatten().unwrap_or(false))
}

/// The sealed account that a withdrawal goes to: (key id, bytes).
pub async fn sealed_destination(pool: &PgPool, id: Uuid) -> Result<Option<(String, Vec<u8>)>, sqlx::Error> {
    let row = sqlx::query!("SELECT destination_key_id, destination_sealed FROM transactions WHERE id = $1", id)
        .fetch_optional(pool)
        .await?;
    Ok(row.and_then(|row| row.destination_key_id.zip(row.destination_sealed)))
}
