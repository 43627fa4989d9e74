//! A poll thread that stands still, and one that must not.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use payfleet::dev::servers::Directory;
use payfleet::dev::servers::kafka::Kafka;
use payfleet::kafka::consumer::Settings;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::gates::Gates;
use super::{LIMIT, Running, Topic, client};
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
        while stands {
            std::thread::park();
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

/// A commit is answered when the broker is back, or when the connection to it is given up: a minute by default.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_falls_silent_while_partitions_are_given_up_holds_the_poll_thread_up_for_seconds_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = Directory::take_any(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("silent-broker")).unwrap();
    let kafka = Kafka::start(&directory, &root.join(".dev/kafka")).await.unwrap();
    let client = client().set("bootstrap.servers", kafka.brokers()).clone();
    let topic = Topic::make_at(client, Topic::named(), 2).await;
    topic.fill(5).await;
    let (log, gates) = (listen(None), Gates::default());
    let mut member = topic.member();
    // It waits for what is in hand, and is not left behind before that is done.
    member.settings = Settings { revoke_ms: 60_000, stall_ms: 600_000, ..Settings::default() };
    let first = Running::start(member.clone(), gates.clone());
    eventually("all in hand", LIMIT, async || (gates.waiting().len() == 10).then_some(())).await;
    let second = Running::start(member, gates.clone());
    eventually("partitions to be given up", LIMIT, async || log.says("partitions revoked").then_some(())).await;
    kafka.freeze();
    gates.open_all();
    eventually("it to go on without the broker's word", LIMIT, async || {
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
