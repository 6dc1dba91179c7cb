//! What is counted about one generation, while it works.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::fault::Class;
use super::generation::Generation;
use super::histogram::Histogram;
use crate::sliding_window::{Tally, Window};
use host_mail::Timestamp;

/// How far back a fault still shows in the host's health.
pub const RECENT: Duration = Duration::from_secs(5 * 60);

/// Calls, faults and time of one generation, and who has it in use.
#[derive(Debug)]
pub struct GenerationMetrics {
    calls: AtomicU64,
    remembered: AtomicU64,
    faults: [AtomicU64; Class::ALL.len()],
    recent: Window,
    /// Time of each question, instantiation included.
    pub latency: Histogram,
    instances: AtomicU64,
    /// How many began when.
    units: Mutex<BTreeMap<Timestamp, u64>>,
}

/// Units of work that began with a generation and go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InHand {
    /// Number of units of work.
    pub units: u64,
    /// When the oldest began; none if there is none.
    pub oldest: Option<Timestamp>,
}

impl Default for GenerationMetrics {
    fn default() -> Self {
        Self {
            calls: AtomicU64::new(0),
            remembered: AtomicU64::new(0),
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

    /// A call was answered from memory.
    pub fn remember(&self) {
        self.remembered.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls that were answered from memory.
    pub fn remembered(&self) -> u64 {
        self.remembered.load(Ordering::Relaxed)
    }

    /// Classes that occurred.
    pub fn faults(&self) -> impl Iterator<Item = (Class, u64)> {
        let counts = self.faults.iter().map(|count| count.load(Ordering::Relaxed));
        Class::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0)
    }

    /// Of the last [`RECENT`].
    pub fn recent(&self) -> Tally {
        self.recent.tally(Instant::now())
    }

    /// Instances alive.
    pub fn instances(&self) -> u64 {
        self.instances.load(Ordering::Relaxed)
    }

    /// Returns units of work in progress.
    pub fn in_hand(&self) -> InHand {
        let units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        InHand {
            units: units.values().sum(),
            oldest: units.keys().next().copied(),
        }
    }

    /// Counts a unit of work that began at `since`.
    pub fn begin_unit(&self, since: Timestamp) {
        let mut units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        *units.entry(since).or_default() += 1;
    }

    /// Of one that began then.
    pub fn end_unit(&self, since: Timestamp) {
        let mut units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut began) = units.entry(since) {
            *began.get_mut() -= 1;
            if *began.get() == 0 {
                began.remove();
            }
        }
    }
}

/// One instance of a generation is alive as long as this is.
pub struct InUse(Arc<Generation>);

impl InUse {
    /// Counts an instance of `generation` as alive until the guard is dropped.
    pub fn new(generation: &Arc<Generation>) -> Self {
        generation.counters.instances.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(generation))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.counters.instances.fetch_sub(1, Ordering::Relaxed);
    }
}
