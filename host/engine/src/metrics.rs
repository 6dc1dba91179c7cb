//! Metrics of a generation.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::fault::Class;
use super::histogram::Histogram;
use crate::sliding_window::{Tally, Window};
use host_mail::Timestamp;

/// Length of the sliding window of calls and faults; a fault shows in the host's health for that long.
pub const RECENT: Duration = Duration::from_secs(5 * 60);

/// Calls, faults and latency of a generation, and the units of work that use the generation.
#[derive(Debug)]
pub struct GenerationMetrics {
    calls: AtomicU64,
    faults: [AtomicU64; Class::ALL.len()],
    recent: Window,
    /// Latency of each question, including instantiation.
    pub latency: Histogram,
    instances: AtomicU64,
    /// Number of active units of work by start time.
    units: Mutex<BTreeMap<Timestamp, u64>>,
}

/// Active units of work of a generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ActiveUnits {
    /// Number of units of work.
    pub units: u64,
    /// Start time of the oldest unit; `None` without active units.
    pub oldest: Option<Timestamp>,
}

impl Default for GenerationMetrics {
    fn default() -> Self {
        Self {
            calls: AtomicU64::new(0),
            faults: Default::default(),
            recent: Window::new(RECENT),
            latency: Histogram::default(),
            instances: AtomicU64::new(0),
            units: Mutex::default(),
        }
    }
}

impl GenerationMetrics {
    /// Counts a call.
    pub fn call(&self, now: Instant) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.recent.call(now);
    }

    /// Counts a fault.
    pub fn fault(&self, class: Class, now: Instant) {
        for (known, count) in Class::ALL.iter().zip(&self.faults) {
            if *known == class {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.recent.fault(now);
    }

    /// Returns the number of calls.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Returns the classes that occurred, with their counts.
    pub fn faults(&self) -> impl Iterator<Item = (Class, u64)> {
        let counts = self.faults.iter().map(|count| count.load(Ordering::Relaxed));
        Class::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0)
    }

    /// Returns calls and faults of the last [`RECENT`].
    pub fn recent(&self) -> Tally {
        self.recent.tally(Instant::now())
    }

    /// Returns the number of live instances.
    pub fn instances(&self) -> u64 {
        self.instances.load(Ordering::Relaxed)
    }

    /// Counts a new instance.
    pub(super) fn begin_instance(&self) {
        self.instances.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an instance as gone.
    pub(super) fn end_instance(&self) {
        self.instances.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the active units of work.
    pub fn in_hand(&self) -> ActiveUnits {
        let units = self.units.lock();
        ActiveUnits {
            units: units.values().sum(),
            oldest: units.keys().next().copied(),
        }
    }

    /// Counts a unit of work that began at `since`.
    pub fn begin_unit(&self, since: Timestamp) {
        let mut units = self.units.lock();
        *units.entry(since).or_default() += 1;
    }

    /// Ends a unit of work that began at `since`.
    pub fn end_unit(&self, since: Timestamp) {
        let mut units = self.units.lock();
        if let Entry::Occupied(mut began) = units.entry(since) {
            *began.get_mut() -= 1;
            if *began.get() == 0 {
                began.remove();
            }
        }
    }
}
