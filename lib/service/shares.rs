//! Places in a bounded room, of which nobody may have more than a share: one who asks for much keeps nobody else out.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Cheap to clone; all clones are the same room.
pub struct Shares<K>(Arc<Room<K>>);

struct Room<K> {
    places: usize,
    share: usize,
    taken: Mutex<Taken<K>>,
}

struct Taken<K> {
    all: usize,
    /// Who has none is not in it.
    by: HashMap<K, usize>,
}

/// Why there is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoPlace {
    Room,
    Share,
}

/// Free again when dropped.
pub struct Place<K: Eq + Hash> {
    room: Arc<Room<K>>,
    who: Option<K>,
}

impl<K> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Eq + Hash + Clone> Shares<K> {
    pub fn new(places: usize, share: usize) -> Self {
        let taken = Mutex::new(Taken { all: 0, by: HashMap::new() });
        Self(Arc::new(Room { places, share, taken }))
    }

    /// Places that nobody has.
    pub fn free(&self) -> usize {
        self.0.places - self.0.taken().all
    }

    /// Takes a place. None: for somebody who has no share to keep to.
    pub fn take(&self, who: Option<K>) -> Result<Place<K>, NoPlace> {
        let mut taken = self.0.taken();
        if taken.all >= self.0.places {
            return Err(NoPlace::Room);
        }
        if let Some(who) = &who {
            let had = taken.by.get(who).copied().unwrap_or_default();
            if had >= self.0.share {
                return Err(NoPlace::Share);
            }
            taken.by.insert(who.clone(), had + 1);
        }
        taken.all += 1;
        Ok(Place { room: Arc::clone(&self.0), who })
    }
}

impl<K> Room<K> {
    fn taken(&self) -> MutexGuard<'_, Taken<K>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.room.taken();
        taken.all -= 1;
        if let Some(who) = &self.who
            && let Some(had) = taken.by.get_mut(who)
        {
            *had -= 1;
            if *had == 0 {
                taken.by.remove(who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_more_than_a_share_and_what_is_given_back_can_be_had_again() {
        let room = Shares::new(4, 2);
        let mut places: Vec<_> = ["a", "a", "b"].map(|who| room.take(Some(who)).ok().unwrap()).into();
        assert_eq!(room.take(Some("a")).err(), Some(NoPlace::Share));
        assert_eq!(room.free(), 1);
        places.push(room.take(None).ok().unwrap());
        assert_eq!(room.take(Some("c")).err(), Some(NoPlace::Room));
        places.clear();
        assert!(room.0.taken().by.is_empty());
        assert!(room.take(Some("a")).is_ok());
    }
}
