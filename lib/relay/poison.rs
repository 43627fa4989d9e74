//! Poison: what is set aside instead of sent, and sending one record at a time to find out which it is.

use std::collections::HashSet;
use std::sync::Arc;

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::closed::Closed;
use super::page::Page;
use super::record::{self, Writer};
use super::refusal::{self, Meaning, TOPIC_RETRY};
use crate::kafka::Settings;
use crate::kafka::producer::{NotQueued, Outgoing, Producer};
use crate::outbox::delta::Row;
use crate::outbox::parked::{Pair, Parking};

/// Splits pages of a lane into what is sent and what is set aside.
pub struct Sieve<'a> {
    pub lane: i16,
    /// Pairs that are held back.
    pub parked: &'a HashSet<Pair>,
    /// Pairs that are held back as soon as a page on its way has passed.
    pub ahead: &'a mut HashSet<Pair>,
    pub closed: &'a Closed,
    /// The largest record, in bytes.
    pub limit: usize,
}

impl Sieve<'_> {
    /// Sets aside rows of pairs that are held back, of topics that are closed, and rows no topic would take.
    pub fn sift(self, rows: Vec<Row>) -> (Vec<Row>, Vec<Parking>) {
        let all_open = self.parked.is_empty() && self.ahead.is_empty() && self.closed.is_empty();
        if all_open && rows.iter().all(|row| record::size(row) <= self.limit) {
            return (rows, Vec::new());
        }
        let now = Instant::now();
        let (mut sent, mut aside) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            let pair = Pair::of(&row);
            let size = record::size(&row);
            let (reason, retry_in) = if self.parked.contains(&pair) || self.ahead.contains(&pair) {
                (BEHIND_ANOTHER.to_owned(), None)
            } else if let Some(wait) = self.closed.wait(&row.topic, now) {
                (CLOSED.to_owned(), Some(wait))
            } else if size > self.limit {
                (format!("too large: {size} bytes, the topic takes {}", self.limit), None)
            } else {
                sent.push(row);
                continue;
            };
            self.ahead.insert(pair);
            aside.push(Parking { lane: self.lane, row, reason, retry_in });
        }
        (sent, aside)
    }
}

const BEHIND_ANOTHER: &str = "an earlier event of the same aggregate and topic is parked";
const CLOSED: &str = "not sent: the topic has refused another event just before";

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
    /// Topics that are missing, or closed to us.
    pub closed: Vec<String>,
}

impl Singly {
    fn of(lane: i16) -> Self {
        let (delivered, parkings, closed) = (Vec::new(), Vec::new(), Vec::new());
        Self { lane, delivered, parkings, last_id: None, interrupted: None, closed }
    }

    /// Adds what was set aside of the same page before anything was sent: as far as the lane has come, which then is behind it. The
    /// rest is read again.
    pub fn set_aside(&mut self, aside: Vec<Parking>) {
        let reached = match self.interrupted {
            None => i64::MAX,
            Some(_) => self.last_id.unwrap_or_default(),
        };
        self.parkings.extend(aside.into_iter().filter(|parking| parking.row.id <= reached));
        self.parkings.sort_unstable_by_key(|parking| parking.row.id);
    }
}

/// What to do when a row is refused for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnRefusal {
    /// Set it aside, with those behind it and others of a topic that is closed.
    SetAside,
    /// They are set aside already, and stay so: only the one that was refused is told of.
    Leave,
}

/// Sends rows one at a time, each awaited, on producers of its own: what is refused here harms nobody else. Behind a row that was refused
/// none of its pair is sent.
pub async fn send_singly(
    settings: Settings,
    client: String,
    incarnation: i32,
    lane: i16,
    rows: Vec<Row>,
    on_refusal: OnRefusal,
) -> Singly {
    let mut sender = Sender { settings, client, writer: Writer::new(incarnation), producer: None };
    let mut result = Singly::of(lane);
    let mut refused: HashSet<Pair> = HashSet::new();
    for row in rows {
        let id = row.id;
        let behind = refused.contains(&Pair::of(&row));
        if behind || result.closed.contains(&row.topic) {
            if on_refusal == OnRefusal::SetAside {
                let (reason, retry_in) = if behind { (BEHIND_ANOTHER, None) } else { (CLOSED, Some(TOPIC_RETRY)) };
                refused.insert(Pair::of(&row));
                result.parkings.push(Parking { lane, row, reason: reason.to_owned(), retry_in });
            }
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
                if refusal::closes_the_topic(code) {
                    result.closed.push(row.topic.clone());
                }
                result.parkings.push(Parking { lane, row, reason: format!("refused by Kafka: {code}"), retry_in });
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

    /// What is sent and what is set aside of these rows, by pages.
    fn sifted(pages: Vec<Vec<Row>>, closed: &Closed) -> Vec<(Vec<i64>, Vec<i64>)> {
        let (parked, mut ahead) = (HashSet::new(), HashSet::new());
        let sift = |rows| {
            let sieve = Sieve { lane: 0, parked: &parked, ahead: &mut ahead, closed, limit: 2_000 };
            let (sent, aside) = sieve.sift(rows);
            (ids(&sent), ids(aside.iter().map(|parking| &parking.row)))
        };
        pages.into_iter().map(sift).collect()
    }

    #[test]
    fn a_row_too_large_is_set_aside_with_all_later_ones_of_its_pair_and_nobody_elses() {
        let first = vec![row(1, 7, 10), row(2, 7, 5_000), row(3, 8, 10), row(4, 7, 10)];
        let later = vec![row(5, 7, 10), row(6, 8, 10)];
        let sifted = sifted(vec![first, later], &Closed::default());
        assert_eq!(sifted, [(vec![1, 3], vec![2, 4]), (vec![6], vec![5])]);
    }

    #[test]
    fn rows_of_a_closed_topic_are_set_aside_and_those_of_other_topics_are_sent() {
        let mut closed = Closed::default();
        closed.close("payments.new", Instant::now());
        let of_closed = |id, aggregate| Row { topic: "payments.new".into(), ..row(id, aggregate, 10) };
        let sifted = sifted(vec![vec![of_closed(1, 7), row(2, 7, 10), of_closed(3, 8)]], &closed);
        assert_eq!(sifted, [(vec![2], vec![1, 3])]);
    }

    #[test]
    fn what_was_set_aside_before_an_interruption_is_parked_with_it_and_the_rest_is_read_again() {
        let aside = || -> Vec<Parking> {
            let parking = |id| Parking { lane: 0, row: row(id, 9, 10), reason: String::new(), retry_in: None };
            [2, 5].map(parking).into()
        };
        let parked = |last_id, interrupted| {
            let mut singly = Singly { last_id, interrupted, ..Singly::of(0) };
            singly.set_aside(aside());
            ids(singly.parkings.iter().map(|parking| &parking.row))
        };
        let away = Some(RDKafkaErrorCode::BrokerTransportFailure);
        assert_eq!(parked(Some(3), away), [2], "the stored position is 3: nobody will read 2 again");
        assert_eq!(parked(None, away), [] as [i64; 0], "nothing is behind the lane");
        assert_eq!(parked(Some(4), None), [2, 5], "the whole page is behind the lane");
    }
}
