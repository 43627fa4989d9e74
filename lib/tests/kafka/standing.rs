//! A poll thread that stands still, and one that must not.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use payfleet::dev::servers::Directory;
use payfleet::dev::servers::kafka::Kafka;
use payfleet::kafka::consumer::{Error, HandleError, Handler, Record, Room, Settings};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::gates::Gates;
use super::{LIMIT, Running, Topic, Where, client};
use crate::harness::eventually;

/// What our log says: kept, and where the test wants it, the last that its thread does.
#[derive(Clone, Default)]
struct Log {
    said: Arc<Mutex<Vec<String>>>,
    stands: Arc<AtomicBool>,
    stands_at: Option<&'static str>,
}

impl Log {
    fn says(&self, beginning: &str) -> bool {
        self.said.lock().unwrap().iter().any(|message| message.starts_with(beginning))
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !event.metadata().target().starts_with("payfleet::") {
            return;
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        let stands = self.stands_at.is_some_and(|at| message.0 == at) && !self.stands.swap(true, Ordering::SeqCst);
        self.said.lock().unwrap().push(message.0);
        if stands {
            loop {
                std::thread::park();
            }
        }
    }
}

fn listen(stands_at: Option<&'static str>) -> Log {
    let log = Log { stands_at, ..Log::default() };
    let subscriber = tracing_subscriber::registry().with(log.clone());
    tracing::subscriber::set_global_default(subscriber).expect("each test is a process of its own");
    log
}

/// The thread is never seen again, as when the time of day was set back by years under its client.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_left_behind_neither_keeps_the_consumer_from_ending_nor_what_its_handler_holds() {
    let topic = Topic::new(2).await;
    topic.fill(5).await;
    let (log, gates) = (listen(Some("partitions assigned")), Gates::default());
    let mut member = topic.member();
    member.settings = Settings { max_poll_ms: 6_000, stall_ms: 3_000, ..Settings::default() };
    let running = Running::start(member, gates.clone());
    eventually("all committed by whoever came in its place", LIMIT, async || {
        gates.open_all();
        topic.is_committed_to(5).await.then_some(())
    })
    .await;
    assert!(log.stands.load(Ordering::SeqCst) && log.says("the consumer stands still"), "nobody stood still");
    running.stop().await.unwrap();
    eventually("the handler to be let go", LIMIT, async || gates.is_left_alone().then_some(())).await;
}

/// A broker of the test's own, which may fall silent.
async fn broker(test: &str) -> (Directory, Kafka, Topic) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = Directory::take_any(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(test)).unwrap();
    let kafka = Kafka::start(&directory, &root.join(".dev/kafka")).await.unwrap();
    let client = client().set("bootstrap.servers", kafka.brokers()).clone();
    let topic = Topic::make_at(client, Topic::named(), 2).await;
    topic.fill(5).await;
    (directory, kafka, topic)
}

/// A commit is answered when the broker is back, or when the connection to it is given up: a minute by default.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_falls_silent_while_partitions_are_given_up_holds_the_poll_thread_up_for_seconds_only() {
    let (_directory, kafka, topic) = broker("silent-broker").await;
    let (log, gates) = (listen(None), Gates::default());
    let mut member = topic.member();
    // It waits for what is in hand, and is not left behind before that is done.
    member.settings = Settings { revoke_ms: 60_000, max_poll_ms: 60_000, stall_ms: 600_000, ..Settings::default() };
    let first = Running::start(member.clone(), gates.clone());
    eventually("all in hand", LIMIT, async || (gates.waiting().len() == 10).then_some(())).await;
    let second = Running::start(member, gates.clone());
    eventually("partitions to be given up", LIMIT, async || log.says("partitions revoked").then_some(())).await;
    kafka.freeze();
    gates.open_all();
    eventually("it to go on without the broker's word", Duration::from_secs(10), async || {
        log.says("the broker was not heard in time").then_some(())
    })
    .await;
    kafka.thaw();
    eventually("all committed", LIMIT, async || {
        gates.open_all();
        topic.is_committed_to(5).await.then_some(())
    })
    .await;
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_leaves_within_seconds_of_a_broker_that_answers_no_commit() {
    let (_directory, kafka, topic) = broker("leaving-silence").await;
    let gates = Gates::default();
    let mut member = topic.member();
    // Nothing is committed before it is told to leave.
    member.settings = Settings { commit_ms: 600_000, ..Settings::default() };
    let running = Running::start(member, gates.clone());
    eventually("all in hand", LIMIT, async || (gates.waiting().len() == 10).then_some(())).await;
    kafka.freeze();
    gates.open_all();
    running.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), running.ended()).await.expect("it waits for the broker").unwrap();
    kafka.thaw();
    kafka.stop().await;
}

/// The broker's word on the last commit comes late: then its partitions are given up although it still has work in hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_leaves_a_silent_broker_with_work_in_hand_is_gone_as_soon_as_the_broker_is_back() {
    let (_directory, kafka, topic) = broker("late-word").await;
    let (log, gates) = (listen(None), Gates::default());
    let mut member = topic.member();
    // Not for its silence, and not because its work is done.
    member.settings =
        Settings { commit_ms: 600_000, session_timeout_ms: 60_000, drain_ms: 60_000, ..Settings::default() };
    let running = Running::start(member, gates.clone());
    eventually("all in hand", LIMIT, async || (gates.waiting().len() == 10).then_some(())).await;
    kafka.freeze();
    gates.open((0, 0), Ok(()));
    running.stop.cancel();
    eventually("it to wait no longer", LIMIT, async || log.says("the broker was not heard in time").then_some(()))
        .await;
    kafka.thaw();
    eventually("it to have left", LIMIT / 2, async || (topic.members().await.0 == 0).then_some(())).await;
    assert_eq!(gates.waiting().len(), 9, "what was begun is not given up");
    gates.open_all();
    running.ended().await.unwrap();
    kafka.stop().await;
}

/// Panics once the test says so.
struct Panics(Gates);

impl Handler for Panics {
    async fn handle(&self, record: &Record, room: &mut Room<'_>) -> Result<(), HandleError> {
        self.0.handle(record, room).await.unwrap();
        panic!("a bug");
    }
}

async fn ends_for_the_panic(running: Running) {
    let ended = tokio::time::timeout(Duration::from_secs(5), running.ended()).await.expect("it goes on");
    assert!(matches!(ended, Err(Error::Panicked { .. })), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_ends_the_consumer_also_while_the_broker_is_silent() {
    let (_directory, kafka, topic) = broker("panic-in-silence").await;
    let gates = Gates::default();
    let mut member = topic.member();
    member.settings = Settings { stall_ms: 600_000, commit_ms: 5, ..Settings::default() };
    let running = Running::start(member, Panics(gates.clone()));
    eventually("all in hand", LIMIT, async || (gates.waiting().len() == 10).then_some(())).await;
    kafka.freeze();
    gates.open_any();
    ends_for_the_panic(running).await;
    kafka.thaw();
    kafka.stop().await;
}

/// Whoever consumes in its place would find the key of that record taken for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_for_a_member_that_was_left_behind_ends_the_consumer() {
    let topic = Topic::new(2).await;
    topic.fill(5).await;
    let (log, gates) = (listen(Some("partitions revoked")), Gates::default());
    let mut member = topic.member();
    member.settings = Settings { max_poll_ms: 6_000, stall_ms: 3_000, ..Settings::default() };
    let running = Running::start(member.clone(), Panics(gates.clone()));
    eventually("all in hand", LIMIT, async || (gates.waiting().len() == 10).then_some(())).await;
    let other = Running::start(member, Gates::default());
    eventually("it to be left behind", LIMIT, async || log.says("the consumer stands still").then_some(())).await;
    gates.open_any();
    ends_for_the_panic(running).await;
    other.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_left_behind_had_not_begun_is_begun_only_by_whoever_came_in_its_place() {
    let topic = Topic::new(2).await;
    topic.fill(5).await;
    let (log, gates) = (listen(Some("partitions revoked")), Gates::default());
    let mut member = topic.member();
    member.concurrency = 1.into();
    member.settings = Settings { max_poll_ms: 6_000, stall_ms: 3_000, ..Settings::default() };
    let running = Running::start(member.clone(), gates.clone());
    eventually("one in hand", LIMIT, async || (gates.waiting().len() == 1).then_some(())).await;
    let in_hand = gates.waiting();
    let other = Running::start(member, Gates::default());
    eventually("it to be left behind", LIMIT, async || log.says("the consumer stands still").then_some(())).await;
    other.kill().await;
    eventually("all committed", LIMIT, async || {
        gates.open_all();
        topic.is_committed_to(5).await.then_some(())
    })
    .await;
    let mut others: Vec<Where> = gates.began().into_iter().filter(|place| !in_hand.contains(place)).collect();
    others.sort_unstable();
    let once: Vec<Where> = (0..2).flat_map(|partition| (0..5).map(move |offset| (partition, offset))).collect();
    let once: Vec<Where> = once.into_iter().filter(|place| !in_hand.contains(place)).collect();
    assert_eq!(others, once, "each once");
    running.stop().await.unwrap();
}
