//! A producer that never leaves a gap: idempotent, acknowledged by all replicas in sync, waiting for the brokers as long as it takes.
//!
//! By default librdkafka goes on behind a record that was refused, so that its followers arrive without it. With the gapless
//! guarantee a refusal ends the producer: everything not yet acknowledged comes back as failed, in order, and whoever feeds it
//! starts anew from what was acknowledged. Two things are left to the feeder:
//! - a broker accepts any first sequence number of a producer it does not know, so the first record to each partition must be
//!   acknowledged before a second is sent;
//! - a producer that reported one failure must be thrown away, and one whose threads stand still. The library waits by the time of day: if
//!   that is set back, some of its threads stand for as long (librdkafka #2145), and what they were to do is not done.
//!
//! If it dies here: what was sent but not acknowledged may or may not have arrived. It is sent again by whoever comes next.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::util::IntoOpaque;

use super::Settings;
use crate::service::planted::{self, Bug};

/// What becomes of one record.
pub trait Receipt: IntoOpaque + 'static {
    /// Called on the producer's own thread, once per record: in the order of sending for each partition.
    fn delivered(self, result: Result<(), RDKafkaErrorCode>);
}

/// One record on its way.
pub struct Outgoing<'a> {
    /// As the brokers know it.
    pub topic: &'a str,
    pub partition: i32,
    pub key: &'a [u8],
    pub payload: &'a [u8],
    pub headers: OwnedHeaders,
}

/// Why a record was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum NotQueued {
    /// The queue is full: the same record again, a little later.
    #[error("the producer's queue is full")]
    Full,
    #[error("the producer does not take the record: {0}")]
    Refused(RDKafkaErrorCode),
}

/// See the module.
pub struct Producer<R: Receipt> {
    inner: Option<ThreadedProducer<Context<R>>>,
    beats: Arc<AtomicU64>,
}

struct Context<R> {
    beats: Arc<AtomicU64>,
    receipts: PhantomData<fn(R)>,
}

impl<R: Receipt> ClientContext for Context<R> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug => tracing::trace!(facility, message, "librdkafka"),
            _ => tracing::debug!(facility, message, "librdkafka"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "the producer has trouble with its brokers");
    }

    /// The numbers themselves are of no use here: one of the library's threads gathers them, and another brings them.
    fn stats_raw(&self, _: &[u8]) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }
}

impl<R: Receipt> ProducerContext for Context<R> {
    type DeliveryOpaque = R;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: R) {
        receipt.delivered(match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        });
    }
}

impl<R: Receipt> Producer<R> {
    /// `client` names it in the brokers' logs. Nothing is sent yet.
    pub fn new(settings: &Settings, client: &str) -> KafkaResult<Self> {
        let mut config = settings.client();
        let gapless = !planted::is(Bug::FollowersPassARefusedRecord);
        let size = settings.message_max_bytes.to_string();
        config
            .set("client.id", client)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("enable.gapless.guarantee", gapless.to_string())
            // A record that was given up could be in the log all the same; so none is ever given up.
            .set("message.timeout.ms", "0")
            .set("request.timeout.ms", "10000")
            .set("socket.timeout.ms", "15000")
            // A topic that is missing is told after this long (30 s by default); its lane waits meanwhile.
            .set("topic.metadata.propagation.max.ms", "5000")
            // Whoever feeds it comes with pages already: waiting for more only adds latency.
            .set("linger.ms", "0")
            .set("compression.type", settings.compression.as_str())
            .set("message.max.bytes", &size)
            .set("batch.size", &size)
            .set("queue.buffering.max.messages", QUEUE_RECORDS.to_string())
            .set("queue.buffering.max.kbytes", QUEUE_KBYTES.to_string())
            .set("statistics.interval.ms", BEAT_MS.to_string());
        let beats = Arc::default();
        let context = Context { beats: Arc::clone(&beats), receipts: PhantomData };
        Ok(Self { inner: Some(config.create_with_context(context)?), beats })
    }

    /// Hands a record over without waiting. Its receipt is told later what became of it; a record not queued gives it back.
    pub fn send(&self, record: Outgoing<'_>, receipt: R) -> Result<(), (NotQueued, R)> {
        let Some(producer) = &self.inner else { return Err((NotQueued::Refused(RDKafkaErrorCode::Fail), receipt)) };
        let outgoing = BaseRecord::with_opaque_to(record.topic, receipt)
            .partition(record.partition)
            .key(record.key)
            .payload(record.payload)
            .headers(record.headers);
        producer.send(outgoing).map_err(|(error, returned)| {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            let why = if code == RDKafkaErrorCode::QueueFull { NotQueued::Full } else { NotQueued::Refused(code) };
            (why, returned.delivery_opaque)
        })
    }

    /// Why it has ended, if it has: nothing that it was given will be sent any more, and not all of it may be told.
    pub fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.inner.as_ref()?.client().fatal_error()
    }

    /// Signs of life of the producer's threads: about one a second, also while the brokers are away.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Records that were handed over and have no answer yet.
    pub fn in_flight(&self) -> i32 {
        self.inner.as_ref().map_or(0, |producer| producer.in_flight_count())
    }
}

/// Throwing a producer away purges its queue and joins its threads, which blocks for up to half a second: never on the caller. Its queue first,
/// since a thread that stands still is waited for until it goes on, and nothing is to be sent then.
impl<R: Receipt> Drop for Producer<R> {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        let ending = move || {
            inner.purge(PurgeConfig::default().queue().inflight().non_blocking());
            drop(inner);
        };
        if let Err(error) = std::thread::Builder::new().name("producer's end".into()).spawn(ending) {
            tracing::warn!(%error, "no thread to end a producer on; it ended on the spot");
        }
    }
}

/// Whoever feeds the producer keeps fewer in flight; these only bound its memory should that ever fail.
const QUEUE_RECORDS: usize = 200_000;
const QUEUE_KBYTES: usize = 128 * 1_024;

const BEAT_MS: u64 = 1_000;
