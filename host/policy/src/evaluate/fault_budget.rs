//! The fault budget (an error budget) of a generation on trial: a number of origins with faults and a share of faults
//! within a sliding window. Counted by evaluations, read by the module status.
//!
//! A fault counts only if the former generation answers the same question. The former generation is asked a bounded
//! number of times for each origin and window; after that the origin's faults are treated as the last ones were.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::evaluate::fault_origin::FaultOrigin;
use host_config::ProbationConfig;
use host_engine::sliding_window::{Tally, Window};

/// Questions to the former generation with the same result, after which an origin's faults are no longer compared.
const COMPARISONS: u8 = 3;
/// Minimum number of origins that are remembered; the oldest go first.
const MIN_ORIGINS: usize = 1024;

/// A count of calls and faults of a generation on trial.
#[derive(Debug)]
pub(crate) struct FaultBudget {
    limits: ProbationConfig,
    window: Window,
    origins: Mutex<HashMap<FaultOrigin, OriginFaults>>,
    /// True once a fault counted, also before the window.
    has_faults: AtomicBool,
    tripped: AtomicBool,
}

/// Faults of an origin within the window.
#[derive(Debug)]
struct OriginFaults {
    /// Begin of the origin's window.
    since: Instant,
    /// Faults that the former generation does not share.
    counted: u8,
    /// Faults that the former generation shares.
    shared: u8,
}

/// Treatment of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultTreatment {
    /// The former generation is asked first.
    Compare,
    /// The fault counts.
    Count,
    /// The fault does not count.
    Ignore,
}

/// Faults that exceeded the budget, or that have been counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TrialTally {
    /// Calls and counted faults of the window.
    pub(crate) tally: Tally,
    /// Origins with counted faults.
    pub(crate) origins: u64,
}

impl std::fmt::Display for TrialTally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { calls, faults } = self.tally;
        write!(f, "{faults} faults of {} origins in {calls} calls", self.origins)
    }
}

impl FaultBudget {
    pub(crate) fn new(limits: &ProbationConfig) -> Self {
        Self {
            limits: limits.clone(),
            window: Window::new(limits.window),
            origins: Mutex::default(),
            has_faults: AtomicBool::new(false),
            tripped: AtomicBool::new(false),
        }
    }

    /// Returns an empty budget with the same limits.
    pub(crate) fn renewed(&self) -> Self {
        Self::new(&self.limits)
    }

    /// Counts a call.
    pub(crate) fn call(&self, now: Instant) {
        self.window.call(now);
    }

    /// Returns the treatment of a fault of this origin.
    pub(crate) fn treatment(&self, origin: &FaultOrigin, now: Instant) -> FaultTreatment {
        let origins = self.origins.lock();
        match origins
            .get(origin)
            .filter(|known| known.is_within(self.limits.window, now))
        {
            Some(known) if known.shared >= COMPARISONS => FaultTreatment::Ignore,
            Some(known) if known.counted >= COMPARISONS => FaultTreatment::Count,
            _ => FaultTreatment::Compare,
        }
    }

    /// Remembers a fault that the former generation shares; it does not count.
    pub(crate) fn shared_fault(&self, origin: FaultOrigin, now: Instant) {
        self.remember(origin, now, |known| known.shared = known.shared.saturating_add(1));
    }

    /// Counts a fault. Returns the tally when the budget is exceeded for the first time, which takes both the number of
    /// origins and the share of faults; a limit of zero faults is never exceeded.
    pub(crate) fn fault(&self, origin: FaultOrigin, now: Instant) -> Option<TrialTally> {
        self.has_faults.store(true, Ordering::Relaxed);
        self.window.fault(now);
        self.remember(origin, now, |known| known.counted = known.counted.saturating_add(1));
        let tally = self.tally_at(now);
        let Tally { calls, faults } = tally.tally;
        let is_exceeded = self.limits.faults > 0
            && tally.origins >= self.limits.faults
            && self.limits.share.is_reached(faults, calls);
        (is_exceeded && !self.tripped.swap(true, Ordering::Relaxed)).then_some(tally)
    }

    /// Returns the number of origins with faults at which the budget can be exceeded.
    pub(crate) fn origins_limit(&self) -> u64 {
        self.limits.faults
    }

    /// Returns the calls, faults and origins of the window.
    pub(crate) fn tally(&self) -> TrialTally {
        self.tally_at(Instant::now())
    }

    /// True if no fault has counted since the trial began.
    pub(crate) fn is_clean(&self) -> bool {
        !self.has_faults.load(Ordering::Relaxed)
    }

    fn tally_at(&self, now: Instant) -> TrialTally {
        let origins = self.origins.lock();
        let counted = |known: &&OriginFaults| known.counted > 0 && known.is_within(self.limits.window, now);
        TrialTally {
            tally: self.window.tally(now),
            origins: origins.values().filter(counted).count() as u64,
        }
    }

    fn remember(&self, origin: FaultOrigin, now: Instant, change: impl FnOnce(&mut OriginFaults)) {
        let mut origins = self.origins.lock();
        let max = usize::try_from(self.limits.faults)
            .unwrap_or(usize::MAX)
            .max(MIN_ORIGINS);
        if origins.len() >= max && !origins.contains_key(&origin) {
            let oldest = origins.iter().min_by_key(|(_, known)| known.since);
            if let Some(oldest) = oldest.map(|(origin, _)| origin.clone()) {
                origins.remove(&oldest);
            }
        }
        let known = origins.entry(origin).or_insert_with(|| OriginFaults::new(now));
        if !known.is_within(self.limits.window, now) {
            *known = OriginFaults::new(now);
        }
        change(known);
    }
}

impl OriginFaults {
    fn new(since: Instant) -> Self {
        Self {
            since,
            counted: 0,
            shared: 0,
        }
    }

    fn is_within(&self, window: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < window
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_config::Share;

    fn budget(percent: u8) -> FaultBudget {
        FaultBudget::new(&ProbationConfig {
            faults: 3,
            share: Share::percent(percent.into()),
            ..ProbationConfig::default()
        })
    }

    fn origin(number: u8) -> FaultOrigin {
        FaultOrigin::network([10, number, 0, 1].into())
    }

    #[test]
    fn trips_once_when_both_origins_and_share_are_reached() {
        let now = Instant::now();
        let few = budget(50);
        few.call(now);
        assert!((1..=2).all(|n| few.fault(origin(n), now).is_none()));
        let tally = few.fault(origin(3), now).expect("the third origin");
        assert_eq!(tally.to_string(), "3 faults of 3 origins in 1 calls");
        assert_eq!(few.fault(origin(4), now), None);
        let rare = budget(50);
        (0..8).for_each(|_| rare.call(now));
        assert!((1..=3).all(|n| rare.fault(origin(n), now).is_none()));
        assert!(rare.fault(origin(1), now).is_some());
    }

    #[test]
    fn one_origin_never_trips() {
        let now = Instant::now();
        let budget = budget(1);
        assert!(budget.is_clean());
        for _ in 0..1000 {
            budget.call(now);
            assert_eq!(budget.fault(origin(1), now), None);
        }
        assert!(!budget.is_clean());
        assert_eq!(budget.tally().origins, 1);
    }

    #[test]
    fn comparisons_of_an_origin_are_bounded() {
        let budget = budget(1);
        let now = Instant::now();
        for treatment in [FaultTreatment::Compare; 3] {
            assert_eq!(budget.treatment(&origin(1), now), treatment);
            budget.shared_fault(origin(1), now);
            budget.fault(origin(2), now);
        }
        assert_eq!(budget.treatment(&origin(1), now), FaultTreatment::Ignore);
        assert_eq!(budget.treatment(&origin(2), now), FaultTreatment::Count);
        let later = now + budget.limits.window;
        assert_eq!(budget.treatment(&origin(1), later), FaultTreatment::Compare);
    }

    #[test]
    fn remembers_a_bounded_number_of_origins() {
        let budget = budget(1);
        let now = Instant::now();
        for number in 0..3000_u32 {
            let address = std::net::Ipv4Addr::from(number << 8);
            budget.shared_fault(FaultOrigin::network(address.into()), now);
        }
        assert_eq!(budget.origins.lock().len(), MIN_ORIGINS);
    }
}
