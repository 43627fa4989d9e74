//! One payment, from when it is meant to be sent until it is decided: resent under the same key for as long as it takes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::client::{Answer, Asked, Lost, Pool};
use super::figures::Figures;
use super::mix::Order;
use super::record::Record;
use crate::domain::ids::Kind;
use crate::ops::load_log::is_undecided;
use crate::service::retry::Waits;

/// What all payments of a run share.
#[derive(Clone)]
pub struct Sending {
    pub pool: Pool,
    pub record: Record,
    pub figures: Arc<Mutex<Figures>>,
    /// A payment that is still undecided after this long is given up.
    pub patience: Duration,
}

/// A payment that was accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub id: String,
    pub credential: Arc<str>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

fn named(answer: &Answer) -> Option<String> {
    serde_json::from_slice::<Named>(&answer.body).ok().map(|named| named.id)
}

impl Sending {
    fn count(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.figures.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// `meant_at` is when it should have been sent: waiting for a free connection counts.
    pub async fn send(
        &self,
        order: Order,
        meant_at: Instant,
        place: OwnedSemaphorePermit,
    ) -> std::io::Result<Option<Accepted>> {
        let asked = Asked {
            method: http::Method::POST,
            path: match order.kind {
                Kind::Deposit => "/v1/deposits".to_owned(),
                Kind::Withdrawal => "/v1/withdrawals".to_owned(),
            },
            credential: Arc::clone(&order.credential),
            idempotency_key: Some(order.key.clone()),
            body: order.body.clone(),
        };
        self.record.intent(&order)?;
        let mut place = Some(place);
        let mut waits = Waits::new(Duration::from_millis(100), Duration::from_secs(2));
        loop {
            let free = match place.take() {
                Some(place) => place,
                None => self.pool.place().await,
            };
            let retry_after = match self.pool.send(&asked, free).await {
                Ok(answer) if is_undecided(answer.status) => {
                    self.record.answer(&order, &answer, None)?;
                    let retry_after = answer.retry_after();
                    self.count(|figures| {
                        *figures.put_off.entry(answer.status).or_default() += 1;
                        figures.put_off_vaguely += u64::from(retry_after.is_none());
                    });
                    retry_after
                }
                Ok(answer) => return self.decided(&order, &answer, meant_at),
                Err(lost) => {
                    self.record.lost(&order, &lost)?;
                    self.count(|figures| {
                        figures.lost += 1;
                        figures.not_connected += u64::from(matches!(lost, Lost::NotConnected(_)));
                    });
                    None
                }
            };
            if meant_at.elapsed() > self.patience {
                self.count(|figures| figures.undecided += 1);
                return Ok(None);
            }
            // Spread, so that all who were told the same second do not come back in one.
            tokio::time::sleep(retry_after.unwrap_or_default() + waits.next_wait()).await;
            self.count(|figures| figures.resends += 1);
        }
    }

    fn decided(&self, order: &Order, answer: &Answer, meant_at: Instant) -> std::io::Result<Option<Accepted>> {
        let accepted = (200..300).contains(&answer.status).then(|| named(answer)).flatten();
        self.record.answer(order, answer, accepted.clone())?;
        self.count(|figures| {
            figures.decided_after.push(meant_at.elapsed());
            match &accepted {
                Some(_) => figures.accepted += 1,
                None => *figures.refused.entry(answer.status).or_default() += 1,
            }
        });
        Ok(accepted.map(|id| Accepted { id, credential: Arc::clone(&order.credential) }))
    }
}
