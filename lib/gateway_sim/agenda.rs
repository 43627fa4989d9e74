//! What is going to happen by itself, and when.
//!
//! If it dies here: nothing is lost. What is due follows from the books, which are read back at the start.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;
use std::time::Instant;

use tokio::sync::Notify;

/// One thing that falls due. Whoever carries it out looks first whether it still applies.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Due {
    /// A pending payment finishes. The number is the payment's place in the books.
    Settles(usize),
    /// The customer acts by themselves.
    CustomerActs(usize),
    /// The customer's time is over.
    CustomerIsLate(usize),
    /// A callback is delivered, by its event id.
    Delivery(String),
    /// Somebody tells of a payment in the gateway's name.
    Forgery(usize),
}

#[derive(Default)]
pub struct Agenda {
    waiting: Mutex<BinaryHeap<Reverse<(Instant, Due)>>>,
    earlier: Notify,
}

impl Agenda {
    pub fn add(&self, when: Instant, due: Due) {
        let mut waiting = self.waiting.lock().expect("no holder of the agenda panics");
        let earliest = waiting.peek().is_none_or(|Reverse((first, _))| when < *first);
        waiting.push(Reverse((when, due)));
        if earliest {
            self.earlier.notify_one();
        }
    }

    /// Waits for the next thing to fall due. For one caller.
    pub async fn next(&self) -> Due {
        loop {
            let first = {
                let mut waiting = self.waiting.lock().expect("no holder of the agenda panics");
                match waiting.peek() {
                    Some(Reverse((when, _))) if *when <= Instant::now() => {
                        if let Some(Reverse((_, due))) = waiting.pop() {
                            return due;
                        }
                        None
                    }
                    Some(Reverse((when, _))) => Some(*when),
                    None => None,
                }
            };
            match first {
                Some(when) => tokio::select! {
                    () = tokio::time::sleep_until(when.into()) => {}
                    () = self.earlier.notified() => {}
                },
                None => self.earlier.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn the_earliest_comes_first_whenever_it_was_added() {
        let (agenda, now) = (Agenda::default(), Instant::now());
        agenda.add(now + Duration::from_millis(20), Due::Settles(2));
        agenda.add(now + Duration::from_millis(5), Due::Settles(1));
        assert_eq!(agenda.next().await, Due::Settles(1));
        assert_eq!(agenda.next().await, Due::Settles(2));
    }

    #[tokio::test]
    async fn one_that_is_earlier_wakes_the_waiter() {
        let (agenda, now) = (Agenda::default(), Instant::now());
        agenda.add(now + Duration::from_secs(3_600), Due::Settles(2));
        let (first, ()) = tokio::join!(agenda.next(), async { agenda.add(now, Due::Settles(1)) });
        assert_eq!(first, Due::Settles(1));
    }
}
