//! Topics that take nothing just now: they are missing, or closed to us. Finding that out takes a producer and seconds, so it is found
//! out for a topic and not for each of its records: until somebody has asked again, all of them are set aside unsent. Pure.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::refusal::TOPIC_RETRY;

/// So much longer a topic counts as closed: whoever asks again needs the time.
const GRACE: Duration = Duration::from_secs(15);

/// What is set aside because of a topic is tried again no sooner.
const SOONEST: Duration = Duration::from_secs(1);

#[derive(Default, Debug)]
pub struct Closed {
    /// When it is to be asked again.
    asked_again_at: HashMap<String, Instant>,
}

impl Closed {
    pub fn is_empty(&self) -> bool {
        self.asked_again_at.is_empty()
    }

    pub fn has(&self, topic: &str) -> bool {
        self.asked_again_at.contains_key(topic)
    }

    /// How long a record of this topic has to wait; None: it can be sent.
    pub fn wait(&self, topic: &str, now: Instant) -> Option<Duration> {
        let at = self.asked_again_at.get(topic)?;
        Some(at.saturating_duration_since(now).max(SOONEST))
    }

    /// It has refused a record.
    pub fn close(&mut self, topic: &str, now: Instant) {
        self.asked_again_at.insert(topic.to_owned(), now + TOPIC_RETRY);
    }

    /// It has taken a record.
    pub fn open(&mut self, topic: &str) {
        self.asked_again_at.remove(topic);
    }

    /// Forgets those that nobody has asked again: nothing of them is parked here, and the next record finds out.
    pub fn forget(&mut self, now: Instant) {
        self.asked_again_at.retain(|_, at| *at + GRACE > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_closed_until_it_takes_a_record_or_nobody_has_asked_in_time() {
        let (mut closed, now) = (Closed::default(), Instant::now());
        closed.close("a", now);
        closed.close("b", now);
        assert_eq!((closed.wait("a", now), closed.wait("c", now)), (Some(TOPIC_RETRY), None));
        closed.open("a");
        assert!(!closed.has("a"));
        closed.forget(now + TOPIC_RETRY);
        assert_eq!(closed.wait("b", now + TOPIC_RETRY), Some(SOONEST));
        closed.forget(now + TOPIC_RETRY + GRACE);
        assert!(closed.is_empty());
    }
}
