//! The counters of a single module. Expired counters are removed a few per call, oldest first, so that no call pays for
//! many. Used by the counter store.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Maximum number of expired counters removed by a call.
const MAX_EXPIRED_PER_CALL: usize = 16;

/// The error that the table has no room for another counter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TableFull;

#[derive(Debug, Clone, Copy)]
struct Counter {
    value: u64,
    /// First second in which the counter has expired.
    ends: u64,
}

/// Counters by key, and keys by the time of expiry.
#[derive(Debug, Default)]
pub(crate) struct CounterTable {
    counters: HashMap<Arc<str>, Counter>,
    ends: BTreeSet<(u64, Arc<str>)>,
}

impl CounterTable {
    /// Returns the number of stored counters, expired counters included.
    pub(crate) fn len(&self) -> usize {
        self.counters.len()
    }

    /// Returns the value of a counter; 0 if there is none.
    pub(crate) fn value(&self, key: &str, now: u64) -> u64 {
        let running = self.counters.get(key).filter(|counter| counter.ends > now);
        running.map_or(0, |counter| counter.value)
    }

    /// Adds to a counter, or starts a counter that lasts `seconds`. A counter of 0 seconds is not stored.
    pub(crate) fn add(
        &mut self,
        key: &str,
        amount: u64,
        seconds: u32,
        now: u64,
        limit: usize,
    ) -> Result<u64, TableFull> {
        self.remove_expired(now);
        if let Some(counter) = self.counters.get_mut(key) {
            if counter.ends > now {
                counter.value = counter.value.saturating_add(amount);
                return Ok(counter.value);
            }
            self.remove(key);
        }
        if seconds == 0 {
            return Ok(amount);
        }
        if self.counters.len() >= limit {
            return Err(TableFull);
        }
        self.begin(key, amount, now.saturating_add(u64::from(seconds)));
        Ok(amount)
    }

    /// Starts a counter, replacing any counter of the same key.
    pub(crate) fn begin(&mut self, key: &str, value: u64, ends: u64) {
        self.remove(key);
        let key: Arc<str> = key.into();
        self.counters.insert(Arc::clone(&key), Counter { value, ends });
        self.ends.insert((ends, key));
    }

    /// Returns key, value and end of each counter that has not expired.
    pub(crate) fn active(&self, now: u64) -> impl Iterator<Item = (&str, u64, u64)> {
        let running = self.counters.iter().filter(move |(_, counter)| counter.ends > now);
        running.map(|(key, counter)| (&**key, counter.value, counter.ends))
    }

    fn remove(&mut self, key: &str) {
        if let Some((key, counter)) = self.counters.remove_entry(key) {
            self.ends.remove(&(counter.ends, key));
        }
    }

    /// Removes the oldest expired counters.
    fn remove_expired(&mut self, now: u64) {
        for _ in 0..MAX_EXPIRED_PER_CALL {
            match self.ends.first() {
                Some((ends, _)) if *ends <= now => {}
                _ => return,
            }
            if let Some((_, key)) = self.ends.pop_first() {
                self.counters.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_do_not_extend_a_counter() {
        let mut table = CounterTable::default();
        assert_eq!(table.value("a", 0), 0);
        assert_eq!(table.add("a", 2, 10, 100, 5), Ok(2));
        assert_eq!(table.add("a", 3, 1000, 109, 5), Ok(5));
        assert_eq!((table.value("a", 109), table.value("a", 110)), (5, 0));
        assert_eq!(table.add("a", 1, 10, 110, 5), Ok(1));
        assert_eq!(table.add("a", u64::MAX, 10, 111, 5), Ok(u64::MAX));
    }

    #[test]
    fn counter_of_zero_seconds_is_not_stored() {
        let mut table = CounterTable::default();
        assert_eq!(table.add("a", 7, 0, 100, 0), Ok(7));
        assert_eq!((table.value("a", 100), table.len()), (0, 0));
    }

    #[test]
    fn full_table_counts_known_keys_and_reuses_expired_room() {
        let mut table = CounterTable::default();
        assert_eq!(table.add("a", 1, 10, 0, 2), Ok(1));
        assert_eq!(table.add("b", 1, 20, 0, 2), Ok(1));
        assert_eq!(table.add("c", 1, 20, 0, 2), Err(TableFull));
        assert_eq!(table.add("b", 1, 20, 0, 2), Ok(2));
        assert_eq!(table.add("c", 1, 20, 10, 2), Ok(1));
    }

    #[test]
    fn expired_counters_are_removed_a_few_per_call() {
        let mut table = CounterTable::default();
        for n in 0..100 {
            assert_eq!(table.add(&n.to_string(), 1, 10, 0, 100), Ok(1));
        }
        assert_eq!(table.add("new", 1, 10, 50, 100), Ok(1));
        assert_eq!(table.len(), 100 - MAX_EXPIRED_PER_CALL + 1);
        for _ in 0..10 {
            assert!(table.add("new", 1, 10, 50, 100).is_ok());
        }
        assert_eq!((table.len(), table.ends.len()), (1, 1));
    }
}
