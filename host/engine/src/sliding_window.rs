//! Calls and faults of the last while, counted in slices of time that are used again and again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SLICES: usize = 12;

/// The last while reaches back at most its length, and at least eleven twelfths of it. Counts made
/// in the instant a slice begins may be lost: this is a rate, no account.
#[derive(Debug)]
pub struct Window {
    began: Instant,
    /// Milliseconds.
    slice: u64,
    slices: [Slice; SLICES],
}

#[derive(Debug, Default)]
struct Slice {
    /// How many slices began before this one, since the window was made.
    number: AtomicU64,
    calls: AtomicU64,
    faults: AtomicU64,
}

/// What was counted.
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

    /// Empty if it was last used in an earlier turn.
    fn slice_at(&self, number: u64) -> Option<&Slice> {
        let place = usize::try_from(number % SLICES as u64).ok()?;
        let slice = self.slices.get(place)?;
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
    fn what_is_past_does_not_count() {
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
