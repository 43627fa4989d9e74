//! Poison: what is set aside instead of sent, and sending one record at a time to find out which it is.

use std::collections::HashSet;
use std::sync::Arc;

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;

use super::page::Page;
use super::record::{self, Writer};
use super::refusal::{self, Meaning};
use crate::kafka::Settings;
use crate::kafka::producer::{NotQueued, Outgoing, Producer};
use crate::outbox::delta::Row;
use crate::outbox::parked::{Pair, Parking};

/// Splits a page into what is sent and what is set aside: rows of pairs that are held back, and rows no topic would take.
pub fn sift(lane: i16, rows: Vec<Row>, parked: &mut HashSet<Pair>, limit: usize) -> (Vec<Row>, Vec<Parking>) {
    let harmless = |row: &Row| record::size(row) <= limit;
    if parked.is_empty() && rows.iter().all(harmless) {
        return (rows, Vec::new());
    }
    let (mut sent, mut aside) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        let reason = if parked.contains(&Pair::of(&row)) {
            "an earlier event of the same aggregate and topic is parked".to_owned()
        } else if !harmless(&row) {
            parked.insert(Pair::of(&row));
            format!("too large: {} bytes, the topic takes {limit}", record::size(&row))
        } else {
            sent.push(row);
            continue;
        };
        aside.push(Parking { lane, row, reason, retry_in: None });
    }
    (sent, aside)
}

/// What became of rows that were sent one at a time.
#[derive(Debug)]
pub struct Singly {
    pub lane: i16,
    /// Acknowledged, in order.
    pub delivered: Vec<Row>,
    pub parkings: Vec<Parking>,
    /// The last row that is settled either way.
    pub last_id: Option<i64>,
    /// Why the rest was not tried.
    pub interrupted: Option<RDKafkaErrorCode>,
}

/// What to do when a row is refused for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnRefusal {
    /// Set it aside, and go on with the other pairs.
    SetAside,
    /// Stop: the rows are of one pair.
    Stop,
}

/// Sends rows one at a time, each awaited, on producers of its own: what is refused here harms nobody else.
pub async fn send_singly(
    settings: Settings,
    client: String,
    incarnation: i32,
    lane: i16,
    rows: Vec<Row>,
    on_refusal: OnRefusal,
) -> Singly {
    let mut sender = Sender { settings, client, writer: Writer::new(incarnation), producer: None };
    let mut result = Singly { lane, delivered: Vec::new(), parkings: Vec::new(), last_id: None, interrupted: None };
    let mut refused: HashSet<Pair> = HashSet::new();
    for row in rows {
        let id = row.id;
        if refused.contains(&Pair::of(&row)) {
            let reason = "an earlier event of the same aggregate and topic is parked".to_owned();
            result.parkings.push(Parking { lane, row, reason, retry_in: None });
            result.last_id = Some(id);
            continue;
        }
        match sender.send(lane, &row).await {
            Ok(()) => result.delivered.push(row),
            Err(code) => {
                let Meaning::Permanent { retry_in } = refusal::meaning(code) else {
                    result.interrupted = Some(code);
                    return result;
                };
                refused.insert(Pair::of(&row));
                result.parkings.push(Parking { lane, row, reason: format!("refused by Kafka: {code}"), retry_in });
                if on_refusal == OnRefusal::Stop {
                    return result;
                }
            }
        }
        result.last_id = Some(id);
    }
    result
}

struct Sender {
    settings: Settings,
    client: String,
    writer: Writer,
    producer: Option<Producer<Arc<Page>>>,
}

impl Sender {
    async fn send(&mut self, lane: i16, row: &Row) -> Result<(), RDKafkaErrorCode> {
        let settled = Arc::new(Notify::new());
        let page = Page::new(1, settled.clone());
        if let Err(why) = self.hand_over(lane, row, page.clone()) {
            self.producer = None;
            return Err(why);
        }
        while !page.is_answered() {
            settled.notified().await;
        }
        match page.refusal() {
            None => Ok(()),
            // A producer that has reported a failure is thrown away.
            Some(code) => {
                self.producer = None;
                Err(code)
            }
        }
    }

    fn hand_over(&mut self, lane: i16, row: &Row, page: Arc<Page>) -> Result<(), RDKafkaErrorCode> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => Producer::new(&self.settings, &self.client).map_err(|error| code_of(&error))?,
        };
        let headers = self.writer.headers(row);
        let topic = self.settings.topic(&row.topic);
        let outgoing = Outgoing {
            topic: &topic,
            partition: i32::from(lane),
            key: self.writer.key(row),
            payload: &row.payload,
            headers,
        };
        let handed = self.producer.insert(producer).send(outgoing, page);
        handed.map_err(|(why, _)| match why {
            NotQueued::Full => RDKafkaErrorCode::QueueFull,
            NotQueued::Refused(code) => code,
        })
    }
}

fn code_of(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;

    fn row(id: i64, aggregate: u128, bytes: usize) -> Row {
        Row {
            id,
            aggregate: Uuid::from_u128(aggregate),
            seq: id,
            topic: "payments.events".into(),
            kind: "k".into(),
            traceparent: None,
            payload: vec![b'x'; bytes],
            at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn ids<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<i64> {
        rows.into_iter().map(|row| row.id).collect()
    }

    #[test]
    fn a_row_too_large_is_set_aside_with_all_later_ones_of_its_pair_and_nobody_elses() {
        let rows = vec![row(1, 7, 10), row(2, 7, 5_000), row(3, 8, 10), row(4, 7, 10)];
        let mut parked = HashSet::new();
        let (sent, aside) = sift(0, rows, &mut parked, 2_000);
        assert_eq!(ids(&sent), [1, 3]);
        assert_eq!(ids(aside.iter().map(|parking| &parking.row)), [2, 4]);

        let (sent, aside) = sift(0, vec![row(5, 7, 10), row(6, 8, 10)], &mut parked, 2_000);
        assert_eq!((ids(&sent), aside.len()), (vec![6], 1), "the pair stays parked for later pages");
    }
}
