//! How many faults are too many for a generation that has yet to prove itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use host_config::{ProbationConfig, Share};
use host_engine::sliding_window::{Tally, Window};

/// With one generation.
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

    pub(crate) fn call(&self, now: Instant) {
        self.window.call(now);
    }

    /// What was counted, when it is too much for the first time. Zero faults allow any number.
    pub(crate) fn fault(&self, now: Instant) -> Option<Tally> {
        self.window.fault(now);
        let tally = self.window.tally(now);
        let too_many =
            self.faults > 0 && tally.faults >= self.faults && self.share.is_reached(tally.faults, tally.calls);
        (too_many && !self.tripped.swap(true, Ordering::Relaxed)).then_some(tally)
    }

    pub(crate) fn tally(&self) -> Tally {
        self.window.tally(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_the_number_and_the_share_must_be_reached_and_it_is_said_once() {
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
