use rdkafka::types::RDKafkaErrorCode;
use uuid::Uuid;

use super::*;
use crate::outbox::parked::Refused;

fn row(id: i64, payload: usize) -> Row {
    Row {
        id,
        aggregate: Uuid::nil(),
        seq: id,
        topic: "payments.events".into(),
        kind: "k".into(),
        traceparent: None,
        payload: vec![b'x'; payload],
        at: OffsetDateTime::from_unix_timestamp(id).unwrap(),
    }
}

fn lane() -> Lane {
    Lane::new(Held { lane: 3, epoch: 1 }, Position::beginning(), HashSet::new())
}

fn at(last_id: i64) -> Position {
    Position { last_id, ..Position::beginning() }
}

/// A page of these rows goes out, as it does when it was read.
fn send(lane: &mut Lane, rows: Vec<Row>, limit: usize) -> Arc<Page> {
    let end = at(rows.last().unwrap().id);
    let oldest = rows.first().map(|row| row.at);
    let (sent, aside) = lane.sift(rows, &Closed::default(), limit);
    let page = Page::new(sent.len(), Arc::default());
    lane.sent(page.clone(), end, sent.len(), 0, oldest, aside);
    page
}

#[test]
fn only_what_was_acknowledged_is_stored() {
    let mut lane = lane();
    let first = send(&mut lane, vec![row(1, 1)], 1_000_000);
    send(&mut lane, vec![row(2, 1)], 1_000_000);
    first.answer(Ok(()));
    assert_eq!(lane.collect(), 1);
    let progress = lane.progress(Duration::ZERO).unwrap();
    assert_eq!((progress.position, lane.read.last_id), (at(1), 2));
}

#[test]
fn a_lane_that_sends_singly_goes_on_although_a_parked_pair_is_to_be_sent_again() {
    let mut lane = lane();
    lane.replays.push_back(Pair::of(&row(1, 1)));
    lane.mode = Mode::Singly { rows: 7 };
    assert!(lane.is_readable(10));
    lane.mode = Mode::Pipelined;
    assert!(!lane.is_readable(10), "what is on its way comes to its end first");
    lane.replays.clear();
    assert!(lane.is_readable(10));
}

#[test]
fn parked_pairs_that_are_sent_again_take_turns_with_pages() {
    let pair = |n| Pair { aggregate: Uuid::from_u128(n), topic: "payments.events".into() };
    let mut lane = lane();
    lane.parked.extend([pair(1), pair(2), pair(3)]);
    lane.replays.extend([pair(1), pair(2), pair(3)]);
    assert_eq!(lane.next_replays(2), [pair(1), pair(2)]);
    lane.hand_out(None);
    assert!(lane.next_replays(2).is_empty(), "they are on their way");

    lane.replayed(&Resent { pairs: vec![pair(1), pair(2)], ..Resent::default() }, &[pair(2)]);
    assert!(!lane.parked.contains(&pair(1)) && lane.parked.contains(&pair(2)));
    assert!(lane.next_replays(2).is_empty() && lane.is_readable(10), "a page goes first");
    lane.moved(at(1));
    assert!(!lane.is_readable(10));
    assert_eq!(lane.next_replays(2), [pair(2), pair(3)], "what is left of a pair goes on");

    let refused = Refused { pair: pair(2), reason: String::new(), retry_in: None };
    let resent = Resent { pairs: vec![pair(2), pair(3)], refused: vec![refused], ..Resent::default() };
    lane.replayed(&resent, &[pair(2), pair(3)]);
    send(&mut lane, vec![row(2, 1)], 1_000_000).answer(Ok(()));
    assert!(lane.next_replays(2).is_empty(), "the page is not stored yet");
    lane.collect();
    lane.stored(at(2));
    assert_eq!(lane.next_replays(2), [pair(3)], "what was refused waits for its time");
}

#[test]
fn a_pair_is_held_back_from_its_poison_on_and_not_before_although_the_page_was_read_twice() {
    let mut lane = lane();
    let page = || vec![row(1, 1), row(2, 5_000)];
    send(&mut lane, page(), 2_000);
    lane.rewind();
    let again = send(&mut lane, page(), 2_000);
    assert_eq!(lane.rows_in_flight(), 1, "the row before the poison is sent");
    again.answer(Ok(()));
    lane.collect();
    assert_eq!(lane.parkings().iter().map(|parking| parking.row.id).collect::<Vec<_>>(), [2]);
    assert!(lane.parked.contains(&Pair::of(&row(1, 1))));
}

#[test]
fn a_lane_is_as_old_as_its_oldest_row_that_was_not_acknowledged_whatever_has_become_of_it() {
    let mut lane = lane();
    send(&mut lane, vec![row(5, 1), row(6, 1)], 1_000_000);
    lane.rewind();
    lane.rest(Failure { code: RDKafkaErrorCode::MessageSizeTooLarge, rows: 2 }, Instant::now());
    assert_eq!(lane.oldest(), Some(row(5, 1).at), "resting");
    lane.hand_out(Some(row(5, 1).at));
    assert_eq!(lane.oldest(), Some(row(5, 1).at), "sent singly");
    lane.interrupted(None, 0, Vec::new());
    assert_eq!(lane.oldest(), Some(row(5, 1).at), "interrupted");
    lane.passed(at(6), 2, Vec::new());
    assert_eq!(lane.oldest(), None);
}
