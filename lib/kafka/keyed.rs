//! One at a time per key, in order; many keys at once. The queues only: who works them off is the caller's business.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What waits behind the item that a key's worker has in hand. A key is here as long as it has a worker, and no longer.
pub struct Keyed<K, T> {
    waiting: Mutex<HashMap<K, VecDeque<T>>>,
}

impl<K, T> Default for Keyed<K, T> {
    fn default() -> Self {
        Self { waiting: Mutex::new(HashMap::new()) }
    }
}

impl<K: Eq + Hash + Clone, T> Keyed<K, T> {
    /// Queues the item behind its key's worker. Gives it back when there is none: then the caller must become, or start, the
    /// worker, and call [`Keyed::next`] until it says None.
    pub fn put(&self, key: &K, item: T) -> Option<T> {
        let mut waiting = self.lock();
        match waiting.get_mut(key) {
            Some(queue) => {
                queue.push_back(item);
                None
            }
            None => {
                waiting.insert(key.clone(), VecDeque::new());
                Some(item)
            }
        }
    }

    /// The key's next item, for the worker that is through with the one before. None ends the worker.
    pub fn next(&self, key: &K) -> Option<T> {
        let mut waiting = self.lock();
        let next = waiting.get_mut(key)?.pop_front();
        if next.is_none() {
            waiting.remove(key);
        }
        next
    }

    /// Nothing in here can panic half way, so a poisoned lock guards a sound map.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, VecDeque<T>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_items_of_a_key_have_one_worker_and_keep_their_order() {
        let keyed = Keyed::default();
        assert_eq!(keyed.put(&"a", 1), Some(1), "the first starts a worker");
        assert_eq!(keyed.put(&"a", 2), None);
        assert_eq!(keyed.put(&"a", 3), None);
        assert_eq!(keyed.put(&"b", 4), Some(4), "another key does not wait");
        assert_eq!(keyed.next(&"a"), Some(2));
        assert_eq!(keyed.next(&"a"), Some(3));
        assert_eq!(keyed.next(&"a"), None);
        assert_eq!(keyed.put(&"a", 5), Some(5), "the worker has ended");
    }

    #[test]
    fn a_key_without_a_worker_takes_no_memory() {
        let keyed = Keyed::default();
        for key in 0..1_000 {
            keyed.put(&key, ());
            keyed.next(&key);
        }
        assert!(keyed.lock().is_empty());
    }
}
