//! I15: whatever a callback changed, a verified one did, and the gateways say that they sent it; what they were thanked for is kept.

use std::collections::HashSet;

use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Rest;
use super::charge_log::ChargeLog;
use super::invariant::Invariant;
use super::report::{Finding, Violation};

#[derive(Debug)]
struct Stored {
    id: Uuid,
    gateway: String,
    event_id: String,
    attempt: Option<Uuid>,
    received_at: OffsetDateTime,
}

/// Judged by the books so far; the gateways' log, which is read after them, has the last word.
#[derive(Debug)]
pub struct Callbacks {
    finding: Finding,
    stored: Vec<Stored>,
}

impl Callbacks {
    pub async fn load(books: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let steps = sqlx::query_file_scalar!("lib/ops/sql/callback_step_count.sql").fetch_one(&mut *books).await?;
        let mut finding = Finding { checked: steps.unsigned_abs(), ..Finding::new(Invariant::I15) };
        let groundless =
            sqlx::query_file_as!(Violation, "lib/ops/sql/callback_steps.sql").fetch_all(&mut *books).await?;
        finding.violations_of(groundless);
        let mut stored = Vec::new();
        let mut rows = sqlx::query_file!("lib/ops/sql/stored_callbacks.sql").fetch(books);
        while let Some(row) = rows.try_next().await? {
            let (attempt, received_at) = (row.attempt_id, row.received_at);
            stored.push(Stored { id: row.id, gateway: row.gateway, event_id: row.event_id, attempt, received_at });
        }
        finding.checked += stored.len() as u64;
        Ok(Self { finding, stored })
    }

    /// Without a log: what the books say stands, and who sent the callbacks is not known.
    pub fn unsent(mut self, reason: &str) -> Finding {
        if !self.stored.is_empty() {
            self.finding.gap(reason);
        }
        self.finding
    }

    /// Each stored callback is an event that its gateway meant to send, and each that was thanked for is stored: while the fleet is at work
    /// one may be stored after the books were read.
    pub fn judge(mut self, log: &ChargeLog, rest: Rest) -> Finding {
        if rest == Rest::AtRest {
            let event = |stored: &Stored| (stored.gateway.clone(), stored.event_id.clone());
            let stored: HashSet<(String, String)> = self.stored.iter().map(event).collect();
            self.finding.checked += log.thanked_for.len() as u64;
            for (gateway, event_id) in log.thanked_for.difference(&stored) {
                self.finding.violation(|| format!("{gateway} was thanked for event {event_id}, which is not stored"));
            }
        }
        let mut older = 0_u64;
        for Stored { id, gateway, event_id, attempt, received_at } in self.stored {
            let is_event = log.events.contains(&(gateway.clone(), event_id.clone()));
            // A gateway that lies about a payment may send what is not on its own list.
            let is_lie = attempt.is_some_and(|attempt| log.lying_callbacks.contains(&attempt));
            if is_event || is_lie {
                continue;
            }
            if log.begins_at.is_none_or(|begin| received_at < begin) {
                older += 1;
            } else {
                self.finding.violation(|| format!("callback {id}: {gateway} never sent an event {event_id}"));
            }
        }
        if older > 0 {
            self.finding.gap(format!("{older} callbacks came before the charge log begins"));
        }
        self.finding
    }
}
