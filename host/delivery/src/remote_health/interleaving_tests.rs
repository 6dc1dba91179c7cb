//! Model tests: each runs for every interleaving of a few deliveries, see `host_interleavings`.

use std::cell::Cell;
use std::rc::Rc;

use host_interleavings::{Choices, Exploration, Scenario, pause};

use super::tests::{gone, remote};
use super::*;
use crate::circuit_breaker::{FIRST_OPEN_PERIOD, MAX_OPEN_PERIOD, Outage};

/// Health of a single remote, with a record of the deliveries.
struct ModelledRemote {
    health: RemoteHealth,
    limit: usize,
    choices: Choices,
    /// Permits in use.
    permits: Cell<usize>,
    /// Probes whose outcome is open.
    probes: Cell<usize>,
}

/// Counts a permit or a probe until dropped.
struct CountGuard<'a>(&'a Cell<usize>);

impl<'a> CountGuard<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for CountGuard<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl ModelledRemote {
    /// Creates a remote that is checked after each step of `scenario` and at its end.
    fn new(scenario: &mut Scenario, limit: usize) -> Rc<Self> {
        let model = Rc::new(Self {
            health: RemoteHealth::new(),
            limit,
            choices: scenario.choices(),
            permits: Cell::new(0),
            probes: Cell::new(0),
        });
        let (after_step, at_end) = (model.clone(), model.clone());
        scenario.after_step(move || {
            let (allowed, available) = after_step.connections();
            assert!(after_step.permits.get() + available <= allowed);
            assert!((1..=limit).contains(&allowed));
            assert!(after_step.probes.get() <= 1, "two probes at once");
        });
        scenario.at_end(move || {
            let (allowed, available) = at_end.connections();
            assert_eq!(available, allowed, "every permit is returned");
            let is_probing = at_end.with_outage(|outage| outage.probe.is_some());
            assert_ne!(is_probing, Some(true), "every probe has ended");
        });
        model
    }

    fn state(&self) -> Arc<RemoteState> {
        self.health.state(&remote("a:25"), self.limit).0
    }

    /// Returns the current limit and the number of free connections.
    fn connections(&self) -> (usize, usize) {
        let state = self.state();
        let mut limiter = state.limiter.lock();
        (limiter.allowed(), limiter.semaphore(self.limit).available_permits())
    }

    fn with_outage<T>(&self, read: impl FnOnce(&Outage) -> T) -> Option<T> {
        self.state().circuit.lock().outage.as_ref().map(read)
    }

    /// Delivers a message, at most `attempts` times at intervals of the first open period.
    async fn deliver(self: Rc<Self>, attempts: usize) {
        for attempt in 0..attempts {
            if attempt > 0 {
                tokio::time::sleep(FIRST_OPEN_PERIOD).await;
            }
            if let Ok(permit) = self
                .health
                .acquire(&remote("a:25"), self.limit, WaitBound::Remote)
                .await
                && self.attempt(permit).await
            {
                return;
            }
        }
    }

    /// Attempts a delivery that takes no time or longer than the open period. Returns true if the delivery succeeds.
    async fn attempt(&self, mut permit: ConnectionPermit) -> bool {
        let is_tripped = self.with_outage(|_| ()).is_some();
        assert_eq!(permit.is_probe(), is_tripped, "only a probe passes a tripped circuit");
        let counted = CountGuard::new(&self.permits);
        let probe = permit.is_probe().then(|| CountGuard::new(&self.probes));
        match self.choices.choose(2) {
            0 => pause().await,
            _ => tokio::time::sleep(FIRST_OPEN_PERIOD + FIRST_OPEN_PERIOD / 2).await,
        }
        let succeeds = self.choices.choose(2) == 0;
        if succeeds {
            permit.record_success();
            assert_eq!(self.with_outage(|_| ()), None, "success closes the circuit");
        } else {
            self.fail(&mut permit);
        }
        drop(probe);
        let _counted = (!permit.is_consumed()).then_some(counted);
        if !succeeds && self.choices.choose(2) == 1 {
            // The connection is slow to close.
            tokio::time::sleep(MAX_OPEN_PERIOD).await;
        }
        succeeds
    }

    fn fail(&self, permit: &mut ConnectionPermit) {
        let before = self.with_outage(|outage| outage.open_period);
        let is_probe = permit.is_probe();
        match permit.record_failure(gone(), Duration::from_secs(3600)) {
            FailureEffect::CircuitOpened => assert_eq!(before, None),
            FailureEffect::LimitReduced { .. } => return assert_eq!(before, None),
            FailureEffect::Unchanged => {}
        }
        let after = self.with_outage(|outage| outage.open_period);
        match before {
            Some(before) if is_probe => assert_eq!(after, Some((before * 2).min(MAX_OPEN_PERIOD))),
            Some(before) => assert_eq!(after, Some(before), "a single failure"),
            None => assert!(after.is_none_or(|period| period == FIRST_OPEN_PERIOD)),
        }
    }
}

/// Explores deliveries with the given numbers of attempts, of which `cancellations` may be cancelled.
fn explore(limit: usize, attempts: &'static [usize], cancellations: usize) {
    let bounds = Exploration {
        tick: FIRST_OPEN_PERIOD,
        early_ticks: 0,
        cancellations,
        max_steps: 60,
    };
    bounds.explore(|scenario| {
        let model = ModelledRemote::new(scenario, limit);
        for attempts in attempts {
            scenario.spawn_cancellable(model.clone().deliver(*attempts));
        }
    });
}

#[test]
fn at_most_a_single_probe_runs_and_failed_probes_double_the_open_period() {
    explore(2, &[2, 2], 0);
    explore(2, &[4, 1], 0);
}

#[test]
fn cancelled_deliveries_return_permits_and_probes() {
    explore(2, &[2, 1], 1);
}

#[test]
fn deliveries_that_wait_for_the_last_permit_all_end() {
    explore(1, &[1, 1, 1], 1);
}
