//! The table of what is registered: a key goes into the kernel, the entry is found by it again.
//!
//! ```text
//!   epoll_data, 64 bits        table
//!   ┌────────────┬───────┐     index   generation   value
//!   │ generation │ index │     0       3            Some(source of fd 9)
//!   └────────────┴───────┘     1       8            None          (free, in `free`)
//! ```
//!
//! A descriptor's number is used again at once after a close, and so is a place in this table. An
//! event that was under way meanwhile carries the old generation and finds nothing.

#![forbid(unsafe_code)]

/// Which entry, and which of its successive owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The key as the 64 bits that epoll keeps for us.
    pub(super) fn to_token(self) -> u64 {
        (u64::from(self.generation) << 32) | u64::from(self.index)
    }

    /// The key that [`to_token`](Key::to_token) made into `token`.
    pub(super) fn from_token(token: u64) -> Self {
        Self {
            index: token as u32,
            generation: (token >> 32) as u32,
        }
    }
}

struct Place<T> {
    /// Counts the owners that have left.
    generation: u32,
    value: Option<T>,
}

/// Values under keys that are never mistaken for one another.
///
/// A key would repeat after 2^32 owners of one place. Index `u32::MAX` is never given out, so a
/// token of 64 ones is nobody's key.
pub(super) struct Table<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T> Table<T> {
    pub(super) const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// How many values are held.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Keeps `value`; the place that became free last is used first.
    pub(super) fn insert(&mut self, value: T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        let place = &mut self.places[index as usize];
        debug_assert!(place.value.is_none());
        place.value = Some(value);
        Key {
            index,
            generation: place.generation,
        }
    }

    fn grow(&mut self) -> u32 {
        let index = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        assert_ne!(index, u32::MAX, "more descriptors than the system can have");
        self.places.push(Place {
            generation: 0,
            value: None,
        });
        index
    }

    /// The value under `key`; `None` when that owner has left.
    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let place = self.places.get(key.index as usize)?;
        (place.generation == key.generation).then_some(place.value.as_ref())?
    }

    /// Gives the value under `key` back and makes the key stale; `None` when it is so already.
    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let place = &mut self.places[key.index as usize];
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        place.value.take()
    }

    /// Gives every value back and makes every key stale.
    pub(super) fn drain(&mut self) -> Vec<T> {
        let held: Vec<Key> = (0u32..)
            .zip(&self.places)
            .filter(|(_, place)| place.value.is_some())
            .map(|(index, place)| Key {
                index,
                generation: place.generation,
            })
            .collect();
        held.into_iter()
            .filter_map(|key| self.remove(key))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn re2_a_stale_key_never_finds_the_next_owner_of_the_place() {
        let mut table = Table::new();
        let old = table.insert("old");
        assert_eq!(table.remove(old), Some("old"));
        let new = table.insert("new");
        assert_eq!(new.index, old.index, "else this test proves nothing");
        assert_eq!(table.get(old), None);
        assert_eq!(table.remove(old), None);
        assert_eq!(table.get(new), Some(&"new"));
    }

    #[test]
    fn a_key_survives_the_way_through_the_kernel() {
        let key = Key {
            index: 0xdead_beef,
            generation: 0xfeed_f00d,
        };
        assert_eq!(Key::from_token(key.to_token()), key);
    }

    #[test]
    fn a_drained_table_is_empty_and_its_keys_are_stale() {
        let mut table = Table::new();
        let keys = [1, 2, 3].map(|value| table.insert(value));
        table.remove(keys[1]);
        assert_eq!(table.len(), 2);
        assert_eq!(table.drain(), [1, 3]);
        assert_eq!(table.len(), 0);
        assert!(keys.iter().all(|&key| table.get(key).is_none()));
    }
}
