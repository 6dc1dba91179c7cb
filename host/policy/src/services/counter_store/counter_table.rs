//! The counters of one module. What is over is forgotten bit by bit, the oldest first, so that no
//! call pays for many.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// So many counters that are over are forgotten by one call.
const FORGET: usize = 16;

/// There is no room for another counter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TableFull;

#[derive(Debug, Clone, Copy)]
struct Counter {
    value: u64,
    /// The first second in which it is over.
    ends: u64,
}

/// Counters by key, and keys by when they are over.
#[derive(Debug, Default)]
pub(crate) struct CounterTable {
    counters: HashMap<Arc<str>, Counter>,
    ends: BTreeSet<(u64, Arc<str>)>,
}

impl CounterTable {
    /// Counters that are kept, those included that are over and not forgotten yet.
    pub(crate) fn len(&self) -> usize {
        self.counters.len()
    }

    pub(crate) fn value(&self, key: &str, now: u64) -> u64 {
        let running = self.counters.get(key).filter(|counter| counter.ends > now);
        running.map_or(0, |counter| counter.value)
    }

    pub(crate) fn add(
        &mut self,
        key: &str,
        amount: u64,
        seconds: u32,
        now: u64,
        limit: usize,
    ) -> Result<u64, TableFull> {
        self.forget(now);
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

    /// A counter that is not there yet.
    pub(crate) fn begin(&mut self, key: &str, value: u64, ends: u64) {
        self.remove(key);
        let key: Arc<str> = key.into();
        self.counters.insert(Arc::clone(&key), Counter { value, ends });
        self.ends.insert((ends, key));
    }

    /// Key, value and end of each counter that is not over.
    pub(crate) fn running(&self, now: u64) -> impl Iterator<Item = (&str, u64, u64)> {
        let running = self.counters.iter().filter(move |(_, counter)| counter.ends > now);
        running.map(|(key, counter)| (&**key, counter.value, counter.ends))
    }

    fn remove(&mut self, key: &str) {
        if let Some((key, counter)) = self.counters.remove_entry(key) {
            self.ends.remove(&(counter.ends, key));
        }
    }

    fn forget(&mut self, now: u64) {
        for _ in 0..FORGET {
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
    fn a_counter_begins_counts_and_is_over_whatever_was_added_meanwhile() {
        let mut table = CounterTable::default();
        assert_eq!(table.value("a", 0), 0);
        assert_eq!(table.add("a", 2, 10, 100, 5), Ok(2));
        assert_eq!(table.add("a", 3, 1000, 109, 5), Ok(5));
        assert_eq!((table.value("a", 109), table.value("a", 110)), (5, 0));
        assert_eq!(table.add("a", 1, 10, 110, 5), Ok(1));
        assert_eq!(table.add("a", u64::MAX, 10, 111, 5), Ok(u64::MAX));
    }

    #[test]
    fn a_counter_of_no_time_is_not_kept() {
        let mut table = CounterTable::default();
        assert_eq!(table.add("a", 7, 0, 100, 0), Ok(7));
        assert_eq!((table.value("a", 100), table.len()), (0, 0));
    }

    #[test]
    fn a_full_table_counts_on_and_has_room_again_when_something_is_over() {
        let mut table = CounterTable::default();
        assert_eq!(table.add("a", 1, 10, 0, 2), Ok(1));
        assert_eq!(table.add("b", 1, 20, 0, 2), Ok(1));
        assert_eq!(table.add("c", 1, 20, 0, 2), Err(TableFull));
        assert_eq!(table.add("b", 1, 20, 0, 2), Ok(2));
        assert_eq!(table.add("c", 1, 20, 10, 2), Ok(1));
    }

    #[test]
    fn what_is_over_is_forgotten_bit_by_bit() {
        let mut table = CounterTable::default();
        for n in 0..100 {
            assert_eq!(table.add(&n.to_string(), 1, 10, 0, 100), Ok(1));
        }
        assert_eq!(table.add("new", 1, 10, 50, 100), Ok(1));
        assert_eq!(table.len(), 100 - FORGET + 1);
        for _ in 0..10 {
            assert!(table.add("new", 1, 10, 50, 100).is_ok());
        }
        assert_eq!((table.len(), table.ends.len()), (1, 1));
    }
}
