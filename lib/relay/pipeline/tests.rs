use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use time::OffsetDateTime;
use tracing::field::Field;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use uuid::Uuid;

use super::*;

const LIMIT: usize = 2_000;

/// Nobody answers it: only what the producer itself refuses comes back.
fn pipeline() -> Pipeline {
    pipeline_to("127.0.0.1:1".into())
}

fn pipeline_to(brokers: String) -> Pipeline {
    let settings = Settings { brokers, message_max_bytes: LIMIT, ..Settings::default() };
    Pipeline::new(&settings, "test", 1, Arc::default()).unwrap()
}

fn page_of(lane: i16, topics: &[&str], bytes: usize) -> Outbound {
    let row = |topic: &&str| Row {
        id: 1,
        aggregate: Uuid::nil(),
        seq: 1,
        topic: (*topic).to_owned(),
        kind: "k".into(),
        traceparent: None,
        payload: vec![b'x'; bytes],
        at: OffsetDateTime::UNIX_EPOCH,
    };
    Outbound::new(lane, topics.iter().map(row).collect(), Page::new(topics.len(), Arc::default()))
}

/// How many rows of the pages that wait here were given to the producer.
fn fed(pipeline: &Pipeline) -> Vec<usize> {
    pipeline.queue.iter().map(|outbound| outbound.next.max(outbound.ahead.len())).collect()
}

fn open(pipeline: &mut Pipeline, topic: &str) {
    let topic = pipeline.topic_of(&page_of(0, &[topic], 1).rows[0]);
    pipeline.topics[topic].open_since = [Some(Instant::now()); LANES as usize];
}

#[tokio::test]
async fn nothing_of_a_lane_is_fed_behind_a_page_whose_opener_was_refused() {
    let mut pipeline = pipeline();
    let refused = page_of(3, &["a"], 2 * LIMIT);
    let page = refused.page.clone();
    pipeline.push(refused);
    pipeline.push(page_of(3, &["b"], 10));
    assert_eq!(pipeline.pump(), (Pumped::Opening, vec![]));
    assert_eq!(page.refusal(), Some(RDKafkaErrorCode::MessageSizeTooLarge));
    assert_eq!(fed(&pipeline), [1, 0]);
    assert_eq!(pipeline.pump(), (Pumped::Opening, vec![]), "nor at the next turn");
    assert_eq!(fed(&pipeline), [1, 0]);
}

#[tokio::test]
async fn nothing_of_a_lane_is_fed_behind_a_page_that_was_refused_while_it_was_handed_over() {
    let mut pipeline = pipeline();
    open(&mut pipeline, "a");
    open(&mut pipeline, "b");
    pipeline.push(page_of(3, &["a", "b"], 2 * LIMIT));
    pipeline.push(page_of(3, &["b"], 10));
    assert_eq!(pipeline.pump(), (Pumped::Opening, vec![]));
    assert_eq!(fed(&pipeline), [1, 0]);
}

#[tokio::test]
async fn nothing_is_fed_once_a_page_handed_over_before_comes_back_refused() {
    let mut pipeline = pipeline();
    open(&mut pipeline, "a");
    let first = page_of(3, &["a"], 10);
    let page = first.page.clone();
    pipeline.push(first);
    assert_eq!(pipeline.pump(), (Pumped::All, vec![3]));
    page.answer(Err(RDKafkaErrorCode::UnknownTopic));
    pipeline.push(page_of(3, &["a"], 10));
    assert_eq!(pipeline.pump(), (Pumped::Opening, vec![]));
    assert_eq!(fed(&pipeline), [0]);
    // Another relay has the lane now: what became of its page is no concern of the others.
    pipeline.retain(|lane| lane != 3);
    pipeline.push(page_of(4, &["a"], 10));
    assert_eq!(pipeline.pump(), (Pumped::All, vec![4]));
}

#[tokio::test]
async fn what_was_given_to_a_producer_that_has_ended_has_failed() {
    let mut pipeline = pipeline();
    open(&mut pipeline, "a");
    let (handed_over, waiting) = (page_of(3, &["a"], 10), page_of(4, &["b"], 10));
    let pages = [handed_over.page.clone(), waiting.page.clone()];
    pipeline.push(handed_over);
    pipeline.push(waiting);
    assert_eq!(pipeline.pump(), (Pumped::Opening, vec![3]));
    assert!(pages.iter().all(|page| page.refusal().is_none()));
    pipeline.give_up();
    assert!(pages.iter().all(|page| page.refusal() == Some(RDKafkaErrorCode::Fatal)));
}

/// Looks until it is so; the producer works on threads of its own.
async fn until(what: &str, mut check: impl FnMut() -> bool) {
    let looking = async {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        while !check() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looking).await.unwrap_or_else(|_| panic!("waited for: {what}"));
}

#[tokio::test]
async fn what_is_on_its_way_through_a_producer_that_another_relays_record_has_ended_is_given_up() {
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic("a", i32::from(LANES), 1).unwrap();
    let mut pipeline = pipeline_to(brokers.bootstrap_servers());
    open(&mut pipeline, "a");
    // Of two records, one of which nobody will ever be told about.
    let page = Page::new(2, Arc::default());
    pipeline.push(Outbound { page: page.clone(), ..page_of(4, &["a"], 10) });
    assert_eq!(pipeline.pump(), (Pumped::All, vec![4]));
    until("the first to arrive", || pipeline.producer.in_flight() == 0).await;
    // Refused, which ends the producer, and of a lane that another relay has taken meanwhile.
    brokers.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    assert_eq!(page.refusal(), None, "the first has arrived");
    pipeline.push(page_of(3, &["a"], 10));
    // Its refusal may be here before it is handed over: both end the same.
    pipeline.pump();
    pipeline.retain(|lane| lane == 4);
    until("the producer's end", || pipeline.producer.fatal_error().is_some()).await;
    assert_eq!(pipeline.pump(), (Pumped::All, vec![]), "the word of a record of ours may still come");
    assert_eq!(page.refusal(), None);
    until("the page to be given up", || {
        pipeline.pump();
        page.refusal().is_some()
    })
    .await;
    assert_eq!(page.refusal(), Some(RDKafkaErrorCode::Fatal));
    assert_eq!(pipeline.pump(), (Pumped::Opening, vec![]), "nothing more is fed to it");
}

#[tokio::test]
async fn a_full_queue_is_waited_for_and_refuses_nothing() {
    let mut pipeline = pipeline();
    open(&mut pipeline, "a");
    let filling = page_of(0, &["a"], 1);
    while pipeline.send(0, 0, &filling.rows[0], filling.page.clone()).is_ok() {}
    let waiting = page_of(3, &["a", "b"], 1);
    let page = waiting.page.clone();
    pipeline.push(waiting);
    assert_eq!(pipeline.pump(), (Pumped::Full, vec![]));
    assert_eq!(page.refusal(), None);
}

/// Whoever says so first is never seen again, as when the time of day was set back by years under it.
struct Stands(&'static str, AtomicBool);

impl<S: Subscriber> Layer<S> for Stands {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut says_so = false;
        event.record(&mut |field: &Field, value: &dyn fmt::Debug| {
            says_so |= field.name() == "message" && format!("{value:?}") == self.0;
        });
        if says_so && !self.1.swap(true, Ordering::SeqCst) {
            loop {
                std::thread::park();
            }
        }
    }
}

#[tokio::test]
async fn what_was_given_to_a_producer_that_stands_still_is_given_up_and_nothing_more_is_fed_to_it() {
    let stands = Stands("the producer has trouble with its brokers", AtomicBool::new(false));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(stands)).unwrap();
    let mut pipeline = pipeline();
    let given = page_of(3, &["a"], 10);
    let page = given.page.clone();
    pipeline.push(given);
    until("the page to be given up", || {
        pipeline.pump();
        page.refusal().is_some()
    })
    .await;
    assert_eq!(page.refusal(), Some(RDKafkaErrorCode::Fatal));
    assert_eq!(pipeline.pump(), (Pumped::Opening, vec![]), "something was fed to it");
}

#[tokio::test]
async fn a_producer_whose_brokers_are_away_is_not_taken_for_one_that_stands_still() {
    let mut pipeline = pipeline();
    let given = page_of(3, &["a"], 10);
    let page = given.page.clone();
    pipeline.push(given);
    until("it to live for longer than one that does not would be waited for", || {
        pipeline.pump();
        pipeline.producer.beats() > u64::from(LOOKS) + 3
    })
    .await;
    assert_eq!(page.refusal(), None);
}
