//! Model tests: each runs for every interleaving of a few sessions, see `host_interleavings`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures_util::FutureExt;
use host_interleavings::{Exploration, Scenario, pause};

use super::*;

/// Longer than any run takes.
const FOREVER: Duration = Duration::from_secs(3600);

const BOUNDS: Exploration = Exploration {
    tick: MIN_RECLAIM_INTERVAL,
    early_ticks: 0,
    cancellations: 0,
    max_steps: 60,
};

/// A pool with a record of its use. The record is compared with the state of the pool after each step.
struct ModelledPool {
    pool: Arc<PermitPool>,
    /// Permits of each waiting request, in the order of arrival; 0 once the request has ended.
    requests: RefCell<Vec<usize>>,
    /// Permits of each holder.
    holders: RefCell<Vec<usize>>,
    /// Requests that were granted.
    granted: Cell<usize>,
    /// Notified of each grant.
    progress: tokio::sync::Notify,
}

/// A permit on record.
struct RecordedPermit {
    permit: Permit,
    permits: usize,
    model: Rc<ModelledPool>,
}

/// A waiting request on record.
struct RecordedRequest<'a> {
    model: &'a ModelledPool,
    index: usize,
}

impl ModelledPool {
    /// Creates a pool that is checked after each step of `scenario` and at its end.
    fn new(scenario: &mut Scenario, capacity: u32) -> Rc<Self> {
        let model = Rc::new(Self {
            pool: PermitPool::new(capacity),
            requests: RefCell::default(),
            holders: RefCell::default(),
            granted: Cell::new(0),
            progress: tokio::sync::Notify::new(),
        });
        let (after_step, at_end) = (model.clone(), model.clone());
        scenario.after_step(move || after_step.check());
        scenario.at_end(move || at_end.check_end());
        model
    }

    fn held(&self) -> usize {
        self.holders.borrow().iter().sum()
    }

    fn check(&self) {
        let pool = &self.pool;
        assert!(self.held() + pool.available.available_permits() <= pool.capacity as usize);
        assert_eq!(pool.holders.lock().len(), self.holders.borrow().len());
        let waiting: usize = self.requests.borrow().iter().sum();
        assert_eq!(pool.demand.load(Ordering::SeqCst), waiting);
    }

    fn check_end(&self) {
        self.check();
        let pool = &self.pool;
        assert_eq!(self.held(), 0);
        assert_eq!(pool.available.available_permits(), pool.capacity as usize);
        assert_eq!(pool.starving.load(Ordering::SeqCst), 0);
        assert!(!pool.is_reclaiming.load(Ordering::SeqCst), "the task ends");
    }

    async fn acquire(self: &Rc<Self>, permits: usize, max_wait: Duration) -> Result<RecordedPermit, AcquireTimeout> {
        let index = self.requests.borrow().len();
        self.requests.borrow_mut().push(permits);
        let request = RecordedRequest { model: self, index };
        let permit = self.pool.acquire(permits, max_wait).await?;
        drop(request);
        self.holders.borrow_mut().push(permits);
        let earlier: usize = self.requests.borrow()[..index].iter().sum();
        // Requests that came earlier and still wait have their permits already, and are to be polled.
        assert!(earlier + self.held() <= self.pool.capacity as usize, "out of order");
        self.granted.set(self.granted.get() + 1);
        self.progress.notify_waiters();
        Ok(RecordedPermit {
            permit,
            permits,
            model: self.clone(),
        })
    }

    /// Acquires free permits.
    fn acquire_free(self: &Rc<Self>, permits: usize) -> RecordedPermit {
        let acquired = self.acquire(permits, FOREVER).now_or_never();
        acquired.and_then(Result::ok).expect("free")
    }

    /// Waits until `requests` requests have been granted.
    async fn until_granted(&self, requests: usize) {
        while self.granted.get() < requests {
            self.progress.notified().await;
        }
    }
}

impl Drop for RecordedPermit {
    fn drop(&mut self) {
        let mut holders = self.model.holders.borrow_mut();
        let index = holders.iter().position(|permits| *permits == self.permits);
        holders.swap_remove(index.expect("on record"));
    }
}

impl Drop for RecordedRequest<'_> {
    fn drop(&mut self) {
        self.model.requests.borrow_mut()[self.index] = 0;
    }
}

#[test]
fn permits_are_granted_in_order_within_the_capacity_despite_cancellation() {
    let bounds = Exploration {
        cancellations: 1,
        ..BOUNDS
    };
    bounds.explore(|scenario| {
        let model = ModelledPool::new(scenario, 2);
        for permits in [1, 2, 1, 1] {
            let model = model.clone();
            scenario.spawn_cancellable(async move {
                let _held = model.acquire(permits, FOREVER).await.expect("no timeout");
                pause().await;
            });
        }
    });
}

#[test]
fn every_waiter_is_served_although_holders_only_idle() {
    let bounds = Exploration {
        early_ticks: 2,
        ..BOUNDS
    };
    bounds.explore(|scenario| {
        let model = ModelledPool::new(scenario, 2);
        for permits in [1, 1, 2, 1] {
            let model = model.clone();
            scenario.spawn(async move {
                let mut held = model.acquire(permits, FOREVER).await.expect("no timeout");
                let since = Instant::now();
                tokio::select! {
                    () = held.permit.revoked(since) => {}
                    () = model.until_granted(4) => {}
                }
            });
        }
    });
}

#[test]
fn revoked_holder_that_goes_on_working_is_not_counted_on() {
    let bounds = Exploration {
        early_ticks: 3,
        ..BOUNDS
    };
    bounds.explore(|scenario| {
        let model = ModelledPool::new(scenario, 2);
        let (mut working, mut idle) = (model.acquire_free(1), model.acquire_free(1));
        let served = 3;
        scenario.spawn({
            let (model, choices) = (model.clone(), scenario.choices());
            async move {
                let ticks = u32::try_from(choices.choose(3)).expect("small");
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(MIN_RECLAIM_INTERVAL * ticks) => model.until_granted(served).await,
                    () = working.permit.revoked(Instant::now()) => {}
                }
                drop(working);
            }
        });
        scenario.spawn({
            let model = model.clone();
            async move {
                tokio::select! {
                    () = idle.permit.revoked(Instant::now()) => {}
                    () = model.until_granted(served) => {}
                }
                drop(idle);
            }
        });
        scenario.spawn(async move { drop(model.acquire(1, FOREVER).await.expect("no timeout")) });
    });
}

/// Explores a holder of all permits that works and idles in turn, each for a tick, much shorter than the grace period.
fn explore_busy_holder(max_wait: Duration) {
    let tick = MAX_IDLE_GRACE / 5;
    let bounds = Exploration {
        tick,
        early_ticks: 1,
        max_steps: 400,
        ..BOUNDS
    };
    bounds.explore(|scenario| {
        let model = ModelledPool::new(scenario, 200);
        let mut held = model.acquire_free(200);
        scenario.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(tick) => {}
                    () = held.permit.revoked(Instant::now()) => return,
                }
                tokio::time::sleep(tick).await;
            }
        });
        scenario.spawn(async move { drop(model.acquire(1, max_wait).await.expect("in time")) });
    });
}

#[test]
fn starving_waiter_is_served_before_its_timeout() {
    explore_busy_holder(MAX_IDLE_GRACE * 4);
}

#[test]
fn waiter_is_served_after_the_time_slice_of_a_busy_holder() {
    explore_busy_holder(FOREVER);
}

#[test]
fn timeouts_and_cancellations_lose_no_permit() {
    let bounds = Exploration {
        early_ticks: 2,
        cancellations: 1,
        ..BOUNDS
    };
    bounds.explore(|scenario| {
        let model = ModelledPool::new(scenario, 2);
        let held = model.acquire_free(2);
        scenario.spawn(async move {
            tokio::time::sleep(MIN_RECLAIM_INTERVAL * 2).await;
            drop(held);
        });
        for (permits, max_wait) in [(2, MIN_RECLAIM_INTERVAL * 2), (1, FOREVER)] {
            let model = model.clone();
            scenario.spawn_cancellable(async move {
                match model.acquire(permits, max_wait).await {
                    Ok(_held) => pause().await,
                    Err(AcquireTimeout { waited }) => assert!(waited >= max_wait),
                }
            });
        }
    });
}
