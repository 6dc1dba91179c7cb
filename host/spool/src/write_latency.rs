//! Whether messages get to the disk in time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::PutError;
use host_events::{Event, Events};

pub(super) struct WriteLatency {
    bound: Duration,
    events: Events,
    waiting: Mutex<PendingWrites>,
    behind: AtomicBool,
    refused: AtomicU64,
}

/// When each put that waits was handed over, oldest first.
#[derive(Default)]
struct PendingWrites {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

/// A put that waits for its sync; it no longer does when this is dropped.
pub(super) struct PendingWrite<'a> {
    pace: &'a WriteLatency,
    number: u64,
}

impl WriteLatency {
    pub fn new(bound: Duration, events: Events) -> Self {
        Self {
            bound,
            events,
            waiting: Mutex::default(),
            behind: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        }
    }

    pub fn begin(&self) -> PendingWrite<'_> {
        let mut waiting = self.waiting();
        let number = waiting.next;
        waiting.next += 1;
        waiting.since.insert(number, Instant::now());
        PendingWrite { pace: self, number }
    }

    /// An error if what was accepted already waits for too long. Tells the operator once.
    pub fn check(&self) -> Result<(), PutError> {
        let waiting = self.waiting();
        let oldest = waiting.since.first_key_value().map(|(_, since)| since.elapsed());
        let Some(waited) = oldest.filter(|waited| *waited >= self.bound) else {
            return Ok(());
        };
        let waiting = waiting.since.len();
        self.refused.fetch_add(1, Ordering::Relaxed);
        if !self.behind.swap(true, Ordering::Relaxed) {
            self.events.emit(Event::DiskBehind {
                waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
                waiting: waiting as u64,
            });
        }
        Err(PutError::Behind { waited })
    }

    /// Puts wait for too long, or did when one was last asked for.
    pub fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, PendingWrites> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PendingWrite<'_> {
    fn drop(&mut self) {
        let mut waiting = self.pace.waiting();
        waiting.since.remove(&self.number);
        let oldest = waiting.since.first_key_value().map(|(_, since)| since.elapsed());
        drop(waiting);
        let in_time = oldest.is_none_or(|waited| waited < self.pace.bound);
        if in_time && self.pace.is_behind() && self.pace.behind.swap(false, Ordering::Relaxed) {
            let refused = self.pace.refused.swap(0, Ordering::Relaxed);
            self.pace.events.emit(Event::DiskCaughtUp { refused });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_put_counts_and_each_change_is_told_once() {
        let (events, told) = Events::capture();
        let pace = WriteLatency::new(Duration::from_secs(3600), events);
        let (first, second) = (pace.begin(), pace.begin());
        assert!(pace.check().is_ok());
        let long_ago = Instant::now().checked_sub(Duration::from_secs(3600));
        pace.waiting().since.insert(0, long_ago.expect("the clock is older"));
        for _ in 0..2 {
            assert!(matches!(pace.check(), Err(PutError::Behind { .. })));
        }
        drop(second);
        assert!(pace.is_behind() && pace.check().is_err(), "the oldest still waits");
        assert_eq!(told.ids(), [5064]);
        drop(first);
        assert!(pace.check().is_ok() && !pace.is_behind());
        assert_eq!(told.ids(), [5064, 5065]);
    }
}
