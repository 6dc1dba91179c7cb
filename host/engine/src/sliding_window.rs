//! Sliding-window counters of calls and faults, in a ring of time slices.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SLICES: usize = 12;

/// A sliding window, which reaches back between eleven twelfths of the length and the full length. Increments that race
/// with the reset of a slice may be lost: counts serve as rates, not as accounts.
#[derive(Debug)]
pub struct Window {
    began: Instant,
    /// Length of a slice in milliseconds, at least 1.
    slice: u64,
    slices: [Slice; SLICES],
}

#[derive(Debug, Default)]
struct Slice {
    /// Number of the slice since the window was made.
    number: AtomicU64,
    calls: AtomicU64,
    faults: AtomicU64,
}

/// Counts within a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls within the window.
    pub calls: u64,
    /// Faults within the window.
    pub faults: u64,
}

impl Window {
    /// Makes an empty window of this length.
    pub fn new(length: Duration) -> Self {
        let slice = length.as_millis() / SLICES as u128;
        Self {
            began: Instant::now(),
            slice: u64::try_from(slice).unwrap_or(u64::MAX).max(1),
            slices: Default::default(),
        }
    }

    /// Counts a call.
    pub fn call(&self, now: Instant) {
        if let Some(slice) = self.slice_at(self.number(now)) {
            slice.calls.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a fault.
    pub fn fault(&self, now: Instant) {
        if let Some(slice) = self.slice_at(self.number(now)) {
            slice.faults.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns calls and faults up to `now`.
    pub fn tally(&self, now: Instant) -> Tally {
        let number = self.number(now);
        let recent = |slice: &&Slice| number.saturating_sub(slice.number.load(Ordering::Relaxed)) < SLICES as u64;
        let add = |sum: Tally, slice: &Slice| Tally {
            calls: sum.calls + slice.calls.load(Ordering::Relaxed),
            faults: sum.faults + slice.faults.load(Ordering::Relaxed),
        };
        self.slices.iter().filter(recent).fold(Tally::default(), add)
    }

    fn number(&self, now: Instant) -> u64 {
        let millis = now.saturating_duration_since(self.began).as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX) / self.slice
    }

    /// Returns the slice with this number; a slice of an earlier round of the ring is reset first.
    fn slice_at(&self, number: u64) -> Option<&Slice> {
        let index = usize::try_from(number % SLICES as u64).ok()?;
        let slice = self.slices.get(index)?;
        if slice.number.load(Ordering::Relaxed) != number && slice.number.swap(number, Ordering::Relaxed) != number {
            slice.calls.store(0, Ordering::Relaxed);
            slice.faults.store(0, Ordering::Relaxed);
        }
        Some(slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_leave_the_window() {
        let window = Window::new(Duration::from_secs(12));
        let at = |seconds| window.began + Duration::from_secs(seconds);
        let counted = |seconds| {
            let tally = window.tally(at(seconds));
            (tally.calls, tally.faults)
        };
        window.call(at(0));
        window.fault(at(0));
        window.call(at(5));
        assert_eq!(counted(5), (2, 1));
        assert_eq!(counted(11), (2, 1));
        assert_eq!(counted(12), (1, 0));
        window.call(at(12));
        assert_eq!(counted(12), (2, 0));
        assert_eq!(counted(1_000), (0, 0));
    }
}
