//! The table of taken slots, with a search for the session that has been idle for longest.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::session::ConnectionSlot;

/// Minimum interval between scans of the table. A scan of ten thousand slots takes a good part of a millisecond.
const MIN_SCAN_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum number of idle sessions remembered from a scan.
const MAX_CANDIDATES: usize = 256;

/// The taken slots by key.
#[derive(Default)]
pub(super) struct SlotTable {
    slots: HashMap<u64, Arc<ConnectionSlot>>,
    next: u64,
    /// Keys of sessions that were idle for long enough at the last scan; the idlest last.
    candidates: Vec<u64>,
    /// Earliest time at which another session can have been idle for long enough.
    next_scan: Option<Instant>,
}

impl SlotTable {
    /// Number of taken slots.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Adds a slot and returns the key for [`Self::remove`].
    pub(super) fn add(&mut self, slot: Arc<ConnectionSlot>) -> u64 {
        let key = self.next;
        self.next += 1;
        self.slots.insert(key, slot);
        key
    }

    /// Removes a slot. False if the slot was not in the table.
    pub(super) fn remove(&mut self, key: u64) -> bool {
        self.slots.remove(&key).is_some()
    }

    /// Removes and returns the slot that has been idle for longest, at least for `min_idle`.
    pub(super) fn take_idlest(&mut self, min_idle: Duration, now: Instant) -> Option<Arc<ConnectionSlot>> {
        if self.candidates.is_empty() && self.next_scan.is_none_or(|instant| now >= instant) {
            self.scan(min_idle, now);
        }
        while let Some(key) = self.candidates.pop() {
            // The session may have ended or made progress since the scan.
            let is_idle = |slot: &Arc<ConnectionSlot>| slot.idle().is_some_and(|idle| idle >= min_idle);
            if self.slots.get(&key).is_some_and(is_idle) {
                return self.slots.remove(&key);
            }
        }
        None
    }

    fn scan(&mut self, min_idle: Duration, now: Instant) {
        let idle = |(key, slot): (&u64, &Arc<ConnectionSlot>)| slot.idle().map(|idle| (idle, *key));
        let mut found: Vec<_> = self.slots.iter().filter_map(idle).collect();
        found.sort_unstable();
        let longest = found.last().map_or(Duration::ZERO, |(idle, _)| *idle);
        self.next_scan = Some(now + min_idle.saturating_sub(longest).max(MIN_SCAN_INTERVAL));
        let first_idle = found.partition_point(|(idle, _)| *idle < min_idle);
        let first = first_idle.max(found.len().saturating_sub(MAX_CANDIDATES));
        self.candidates = found[first..].iter().map(|(_, key)| *key).collect();
    }
}
