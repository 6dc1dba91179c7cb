//! The fault budget (an error budget) of a generation on trial: a number and a share of faults within a sliding window.
//! Counted by evaluations, read by the module status.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use host_config::{ProbationConfig, Share};
use host_engine::sliding_window::{Tally, Window};

/// A count of calls and faults of a generation on trial.
#[derive(Debug)]
pub(crate) struct FaultBudget {
    window: Window,
    faults: u64,
    share: Share,
    tripped: AtomicBool,
}

impl FaultBudget {
    pub(crate) fn new(limits: &ProbationConfig) -> Self {
        Self {
            window: Window::new(limits.window),
            faults: limits.faults,
            share: limits.share,
            tripped: AtomicBool::new(false),
        }
    }

    /// Counts a call.
    pub(crate) fn call(&self, now: Instant) {
        self.window.call(now);
    }

    /// Counts a fault. Returns the tally when the budget is exceeded for the first time, which takes both the number
    /// and the share of faults; a limit of zero faults is never exceeded.
    pub(crate) fn fault(&self, now: Instant) -> Option<Tally> {
        self.window.fault(now);
        let tally = self.window.tally(now);
        let is_exceeded =
            self.faults > 0 && tally.faults >= self.faults && self.share.is_reached(tally.faults, tally.calls);
        (is_exceeded && !self.tripped.swap(true, Ordering::Relaxed)).then_some(tally)
    }

    /// Returns the calls and faults of the window.
    pub(crate) fn tally(&self) -> Tally {
        self.window.tally(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trips_once_when_both_number_and_share_are_reached() {
        let limits = ProbationConfig {
            faults: 3,
            share: Share::percent(50),
            ..ProbationConfig::default()
        };
        let now = Instant::now();
        let few = FaultBudget::new(&limits);
        few.call(now);
        assert_eq!((few.fault(now), few.fault(now)), (None, None));
        assert_eq!(few.fault(now), Some(Tally { calls: 1, faults: 3 }));
        assert_eq!(few.fault(now), None);
        let rare = FaultBudget::new(&limits);
        (0..8).for_each(|_| rare.call(now));
        assert!((0..3).all(|_| rare.fault(now).is_none()));
        assert!(rare.fault(now).is_some());
    }
}
