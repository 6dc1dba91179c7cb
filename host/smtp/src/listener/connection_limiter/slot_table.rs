//! The places that are taken, and which of their sessions has been idle for longest.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::session::ConnectionSlot;

/// All places are looked at no more often than this, whatever comes in: with ten thousand of them a
/// look takes a good part of a millisecond.
const PAUSE: Duration = Duration::from_millis(50);
/// So many of the idlest are remembered from one look.
const REMEMBERED: usize = 256;

#[derive(Default)]
pub(super) struct SlotTable {
    taken: HashMap<u64, Arc<ConnectionSlot>>,
    next: u64,
    /// Idle for long enough when they were looked at; the idlest last.
    idlest: Vec<u64>,
    /// Before this nobody new can have been idle for long enough.
    not_before: Option<Instant>,
}

impl SlotTable {
    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    /// The key it is removed by.
    pub(super) fn add(&mut self, place: Arc<ConnectionSlot>) -> u64 {
        let key = self.next;
        self.next += 1;
        self.taken.insert(key, place);
        key
    }

    /// Whether it was still there.
    pub(super) fn remove(&mut self, key: u64) -> bool {
        self.taken.remove(&key).is_some()
    }

    /// Removes the place that has been idle for longest, if that is at least so long.
    pub(super) fn take_idlest(&mut self, least: Duration, now: Instant) -> Option<Arc<ConnectionSlot>> {
        if self.idlest.is_empty() && self.not_before.is_none_or(|instant| now >= instant) {
            self.look(least, now);
        }
        while let Some(key) = self.idlest.pop() {
            // It may have gone, or got on, since.
            let still = |place: &Arc<ConnectionSlot>| place.idle().is_some_and(|idle| idle >= least);
            if self.taken.get(&key).is_some_and(still) {
                return self.taken.remove(&key);
            }
        }
        None
    }

    fn look(&mut self, least: Duration, now: Instant) {
        let idle = |(key, place): (&u64, &Arc<ConnectionSlot>)| place.idle().map(|idle| (idle, *key));
        let mut found: Vec<_> = self.taken.iter().filter_map(idle).collect();
        found.sort_unstable();
        let longest = found.last().map_or(Duration::ZERO, |(idle, _)| *idle);
        self.not_before = Some(now + least.saturating_sub(longest).max(PAUSE));
        let enough = found.partition_point(|(idle, _)| *idle < least);
        let first = enough.max(found.len().saturating_sub(REMEMBERED));
        self.idlest = found[first..].iter().map(|(_, key)| *key).collect();
    }
}
