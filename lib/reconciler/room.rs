//! How much is looked at at the same time, for each gateway apart: one that does not answer fills its own room only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Debug)]
pub(super) struct Room {
    /// Rows of one gateway at the same time; a page that was under way may exceed it once.
    share: usize,
    taken: Mutex<HashMap<String, usize>>,
    /// A gateway that was full has room again.
    freed: Notify,
}

impl Room {
    pub(super) fn new(share: usize) -> Self {
        Self { share, taken: Mutex::default(), freed: Notify::new() }
    }

    /// Gateways that have no room now.
    pub(super) fn full(&self) -> Vec<String> {
        let taken = self.lock();
        taken.iter().filter(|(_, count)| **count >= self.share).map(|(gateway, _)| gateway.clone()).collect()
    }

    /// Room is taken until the place is dropped.
    pub(super) fn enter(self: &Arc<Self>, gateway: String) -> Place {
        *self.lock().entry(gateway.clone()).or_default() += 1;
        Place { room: self.clone(), gateway }
    }

    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    fn leave(&self, gateway: &str) {
        let mut taken = self.lock();
        let Some(count) = taken.get_mut(gateway) else { return };
        *count -= 1;
        if *count + 1 == self.share {
            self.freed.notify_one();
        }
        if *count == 0 {
            taken.remove(gateway);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Place {
    room: Arc<Room>,
    gateway: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.leave(&self.gateway);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gateway_is_full_alone_and_says_when_it_is_not() {
        let room = Arc::new(Room::new(2));
        let (first, _second) = (room.enter("bank".into()), room.enter("bank".into()));
        let _other = room.enter("stripe".into());
        assert_eq!(room.full(), ["bank"]);
        drop(first);
        room.freed().await;
        assert!(room.full().is_empty());
    }
}
