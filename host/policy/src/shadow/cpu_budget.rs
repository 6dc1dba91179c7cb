//! What a candidate in the shadow may take of a processor. A priority alone is only as good as the
//! scheduler, and two processors may be one that is shared.

use std::time::{Duration, Instant};

use host_config::Share;

/// So much may be taken ahead of time: short bursts are compared whole.
const AHEAD: Duration = Duration::from_secs(2);

/// Processor time that is paid for by time that passes.
pub(crate) struct Budget {
    share: Share,
    /// When everything that was taken is paid for.
    paid: Instant,
}

impl Budget {
    pub(crate) fn new(share: Share, now: Instant) -> Self {
        Self { share, paid: now }
    }

    /// So much processor time was taken.
    pub(crate) fn spend(&mut self, taken: Duration, now: Instant) {
        let whole = self.share.whole_of(taken);
        let from = self.paid.max(now);
        self.paid = from.checked_add(whole).unwrap_or(from);
    }

    /// How long nothing may be taken.
    pub(crate) fn pause(&self, now: Instant) -> Duration {
        self.paid.saturating_duration_since(now).saturating_sub(AHEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_what_is_more_is_paid_for_with_time() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut budget = Budget::new(Share::percent(10), began);
        budget.spend(Duration::from_millis(100), began);
        budget.spend(Duration::from_millis(100), began);
        assert_eq!(budget.pause(began), Duration::ZERO);
        budget.spend(Duration::from_millis(50), began);
        assert_eq!(budget.pause(began), Duration::from_millis(500));
        assert_eq!(budget.pause(at(500)), Duration::ZERO);
        // Time in which nothing is taken is not saved up.
        budget.spend(Duration::from_millis(250), at(60_000));
        assert_eq!(budget.pause(at(60_000)), Duration::from_millis(500));
        assert_eq!(budget.pause(at(60_500)), Duration::ZERO);
    }
}
