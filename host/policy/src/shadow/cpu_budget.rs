//! The processor budget of a shadow: a token bucket of processor time. A low priority alone is not enough, because two
//! processors may share a core. Owned by the shadow's worker.

use std::time::{Duration, Instant};

use host_config::Share;

/// Size of the bucket: time that may be used ahead, so that short bursts are compared completely.
const BURST: Duration = Duration::from_secs(2);

/// A token bucket of processor time, refilled with a share of the time that passes.
pub(crate) struct CpuBudget {
    share: Share,
    /// Time at which all used processor time is paid for.
    paid_until: Instant,
}

impl CpuBudget {
    pub(crate) fn new(share: Share, now: Instant) -> Self {
        Self { share, paid_until: now }
    }

    /// Takes processor time from the bucket, which may run into debt.
    pub(crate) fn spend(&mut self, spent: Duration, now: Instant) {
        let whole = self.share.whole_of(spent);
        let from = self.paid_until.max(now);
        self.paid_until = from.checked_add(whole).unwrap_or(from);
    }

    /// Returns the time to wait until the debt is small enough.
    pub(crate) fn pause(&self, now: Instant) -> Duration {
        self.paid_until.saturating_duration_since(now).saturating_sub(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_free_and_excess_waits() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut budget = CpuBudget::new(Share::percent(10), began);
        budget.spend(Duration::from_millis(100), began);
        budget.spend(Duration::from_millis(100), began);
        assert_eq!(budget.pause(began), Duration::ZERO);
        budget.spend(Duration::from_millis(50), began);
        assert_eq!(budget.pause(began), Duration::from_millis(500));
        assert_eq!(budget.pause(at(500)), Duration::ZERO);
        // Idle time is not saved up.
        budget.spend(Duration::from_millis(250), at(60_000));
        assert_eq!(budget.pause(at(60_000)), Duration::from_millis(500));
        assert_eq!(budget.pause(at(60_500)), Duration::ZERO);
    }
}
