//! What is counted about one generation, while it works.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::fault::Class;
use super::generation::Generation;
use super::histogram::Histogram;
use super::window::{Tally, Window};

/// How far back a fault still shows in the host's health.
pub(in crate::policy) const RECENT: Duration = Duration::from_secs(5 * 60);

/// Calls, faults and time of one generation, and who has it in use.
#[derive(Debug)]
pub(in crate::policy) struct Counters {
    calls: AtomicU64,
    remembered: AtomicU64,
    faults: [AtomicU64; Class::ALL.len()],
    recent: Window,
    pub(in crate::policy) latency: Histogram,
    instances: AtomicU64,
    units: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            calls: AtomicU64::new(0),
            remembered: AtomicU64::new(0),
            faults: Default::default(),
            recent: Window::new(RECENT),
            latency: Histogram::default(),
            instances: AtomicU64::new(0),
            units: AtomicU64::new(0),
        }
    }
}

impl Counters {
    pub(in crate::policy) fn call(&self, now: Instant) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.recent.call(now);
    }

    pub(in crate::policy) fn fault(&self, class: Class, now: Instant) {
        for (known, count) in Class::ALL.iter().zip(&self.faults) {
            if *known == class {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.recent.fault(now);
    }

    pub(in crate::policy) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// A call was answered from memory.
    pub(in crate::policy) fn remember(&self) {
        self.remembered.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls that were answered from memory.
    pub(in crate::policy) fn remembered(&self) -> u64 {
        self.remembered.load(Ordering::Relaxed)
    }

    /// Classes that occurred.
    pub(in crate::policy) fn faults(&self) -> impl Iterator<Item = (Class, u64)> {
        let counts = self.faults.iter().map(|count| count.load(Ordering::Relaxed));
        Class::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0)
    }

    /// Of the last [`RECENT`].
    pub(in crate::policy) fn recent(&self) -> Tally {
        self.recent.tally(Instant::now())
    }

    /// Instances alive.
    pub(in crate::policy) fn instances(&self) -> u64 {
        self.instances.load(Ordering::Relaxed)
    }

    /// Units of work that began with this generation and go on.
    pub(in crate::policy) fn units(&self) -> u64 {
        self.units.load(Ordering::Relaxed)
    }

    pub(in crate::policy) fn begin_unit(&self) {
        self.units.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::policy) fn end_unit(&self) {
        self.units.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One instance of a generation is alive as long as this is.
pub(in crate::policy) struct InUse(Arc<Generation>);

impl InUse {
    pub(in crate::policy) fn new(generation: &Arc<Generation>) -> Self {
        generation.counters.instances.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(generation))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.counters.instances.fetch_sub(1, Ordering::Relaxed);
    }
}
