//! Write latency: the age of the oldest put that waits for its sync.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use host_events::{Event, Events};
use parking_lot::Mutex;

use crate::spool_error::PutError;

/// A limit on the age of the oldest pending write.
pub(super) struct WriteLatency {
    limit: Duration,
    events: Events,
    pending: Mutex<PendingWrites>,
    behind: AtomicBool,
    refused: AtomicU64,
}

/// Start times of the pending writes by number, oldest first.
#[derive(Default)]
struct PendingWrites {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

/// A pending write; ends when dropped.
pub(super) struct PendingWrite<'a> {
    latency: &'a WriteLatency,
    number: u64,
}

impl WriteLatency {
    pub fn new(limit: Duration, events: Events) -> Self {
        Self {
            limit,
            events,
            pending: Mutex::default(),
            behind: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        }
    }

    pub fn begin(&self) -> PendingWrite<'_> {
        let mut pending = self.pending.lock();
        let number = pending.next;
        pending.next += 1;
        pending.since.insert(number, Instant::now());
        PendingWrite { latency: self, number }
    }

    /// Fails with [`PutError::Behind`] if the oldest pending write has reached the limit. The first failure emits an
    /// event (5064), the first write in time after it another (5065).
    pub fn check(&self) -> Result<(), PutError> {
        let pending = self.pending.lock();
        let oldest = pending.since.first_key_value().map(|(_, since)| since.elapsed());
        let Some(waited) = oldest.filter(|waited| *waited >= self.limit) else {
            return Ok(());
        };
        let waiting = pending.since.len();
        self.refused.fetch_add(1, Ordering::Relaxed);
        if !self.behind.swap(true, Ordering::Relaxed) {
            self.events.emit(Event::DiskBehind {
                waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
                waiting: waiting as u64,
            });
        }
        Err(PutError::Behind { waited })
    }

    /// True from a failed [`Self::check`] until a write ends that leaves no late one pending.
    pub fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }
}

impl Drop for PendingWrite<'_> {
    fn drop(&mut self) {
        let latency = self.latency;
        let mut pending = latency.pending.lock();
        pending.since.remove(&self.number);
        let oldest = pending.since.first_key_value().map(|(_, since)| since.elapsed());
        drop(pending);
        let in_time = oldest.is_none_or(|waited| waited < latency.limit);
        if in_time && latency.is_behind() && latency.behind.swap(false, Ordering::Relaxed) {
            let refused = latency.refused.swap(0, Ordering::Relaxed);
            latency.events.emit(Event::DiskCaughtUp { refused });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_write_counts_and_each_change_is_one_event() {
        let (events, captured) = Events::capture();
        let latency = WriteLatency::new(Duration::from_secs(3600), events);
        let (first, second) = (latency.begin(), latency.begin());
        assert!(latency.check().is_ok());
        let long_ago = Instant::now().checked_sub(Duration::from_secs(3600));
        (latency.pending.lock().since).insert(0, long_ago.expect("the clock is older"));
        for _ in 0..2 {
            assert!(matches!(latency.check(), Err(PutError::Behind { .. })));
        }
        drop(second);
        assert!(
            latency.is_behind() && latency.check().is_err(),
            "the oldest is still pending"
        );
        assert_eq!(captured.ids(), [5064]);
        drop(first);
        assert!(latency.check().is_ok() && !latency.is_behind());
        assert_eq!(captured.ids(), [5064, 5065]);
    }
}
