//! A fair pool of permits, such as policy instances or concurrently served sessions. Waiters are served first come,
//! first served.
//!
//! Permits of idle holders are revoked while others wait, so that only busy holders can fill the pool. Revocation
//! waits for a grace period of idleness: the holder's next request is probably on the way, and a fresh start would
//! cost more than the wait of others. A starving waiter, or the end of a holder's time slice, suspends the grace
//! period: then a holder is revoked at any pause.

use std::cmp::Reverse;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::primitives::{AtomicBool, AtomicU64, AtomicUsize, Instant, Mutex, Notify, Ordering, sleep, spawn, timeout};

#[cfg(all(test, not(loom)))]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod interleaving_tests;
#[cfg(all(test, loom))]
mod model_tests;

/// Longest grace period: the time for which a holder may be idle before its permits are revoked.
const MAX_IDLE_GRACE: Duration = Duration::from_millis(25);
/// Grace period for each permit of a small pool, whose idle permits must not outlast idle processors.
const IDLE_GRACE_PER_PERMIT: Duration = Duration::from_micros(125);
/// Time slice of a holder, in grace periods. A holder with an expired slice is revoked at any pause, however short.
const TIME_SLICE: u32 = 10;
/// Shortest interval between two searches for idle holders while others wait.
const MIN_RECLAIM_INTERVAL: Duration = Duration::from_millis(1);
/// Value of [`Holder::idle_since`] while the holder is busy.
const BUSY: u64 = u64::MAX;

/// A fair pool of permits with a fixed capacity.
pub struct PermitPool {
    /// Permits without a holder, and the queue of waiters.
    available: Arc<Semaphore>,
    /// Permits in all.
    capacity: u32,
    /// Time for which a holder may be idle while others wait.
    idle_grace: Duration,
    /// Holders of at least one permit.
    holders: Mutex<Slab<Arc<Holder>>>,
    /// Permits that all waiters together need.
    demand: AtomicUsize,
    /// Number of waiters that are close to the end of the timeout.
    starving: AtomicUsize,
    /// True while the reclaim task runs.
    is_reclaiming: AtomicBool,
}

/// Error of [`PermitPool::acquire`]: the permits were not free within the timeout.
#[derive(Debug, Clone, Copy)]
pub struct AcquireTimeout {
    /// Time spent waiting.
    pub waited: Duration,
}

impl PermitPool {
    /// Creates a pool of `capacity` permits, all free.
    pub fn new(capacity: u32) -> Arc<Self> {
        Arc::new(Self {
            available: Arc::new(Semaphore::new(capacity as usize)),
            capacity,
            idle_grace: MAX_IDLE_GRACE.min(IDLE_GRACE_PER_PERMIT.saturating_mul(capacity)),
            holders: Mutex::default(),
            demand: AtomicUsize::new(0),
            starving: AtomicUsize::new(0),
            is_reclaiming: AtomicBool::new(false),
        })
    }

    /// Acquires `count` permits (at most the pool's capacity) within `max_wait`, in the order of the calls. All permits
    /// are granted at once: a holder that waited for more could deadlock with another. Cancel safe: dropping the
    /// future leaves the queue.
    ///
    /// # Errors
    /// [`AcquireTimeout`] if the permits were not free in time.
    pub async fn acquire(self: &Arc<Self>, count: usize, max_wait: Duration) -> Result<Permit, AcquireTimeout> {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(self.capacity);
        let granted = match Arc::clone(&self.available).try_acquire_many_owned(count) {
            Ok(granted) => granted,
            Err(_) => {
                let since = Instant::now();
                let granted = self.wait_for_permits(count, max_wait).await;
                granted.ok_or_else(|| AcquireTimeout {
                    waited: since.elapsed(),
                })?
            }
        };
        let holder = Arc::new(Holder {
            permits: count as usize,
            acquired_at: Instant::now(),
            idle_since: AtomicU64::new(BUSY),
            is_revoked: AtomicBool::new(false),
            revocation: Notify::new(),
        });
        Ok(Permit {
            key: self.holders.lock().insert(Arc::clone(&holder)),
            holder,
            pool: Arc::clone(self),
            _granted: granted,
        })
    }

    async fn wait_for_permits(self: &Arc<Self>, count: u32, max_wait: Duration) -> Option<OwnedSemaphorePermit> {
        let mut waiter = Waiter::new(self, count as usize);
        if let Some(task) = ReclaimTask::start(self) {
            spawn(task.run());
        }
        let granted = async {
            let mut granted = pin!(Arc::clone(&self.available).acquire_many_owned(count));
            tokio::select! {
                biased;
                granted = &mut granted => return granted.ok(),
                () = sleep(max_wait / 4 * 3) => waiter.mark_starving(),
            }
            granted.await.ok()
        };
        timeout(max_wait, granted).await.ok().flatten()
    }

    /// Revokes permits of idle holders, longest idle first, until the shortage is covered.
    fn revoke_idle(&self) {
        let holders = self.holders.lock();
        let mut shortage = self.shortage(&holders);
        let mut idle: Vec<_> = holders
            .iter()
            .filter(|(_, holder)| !holder.is_revoked())
            .filter_map(|(_, holder)| holder.idle_time().map(|time| (time, holder)))
            .filter(|(time, holder)| *time >= self.idle_grace || self.must_yield(holder))
            .collect();
        idle.sort_unstable_by_key(|(time, _)| Reverse(*time));
        for (_, holder) in idle {
            if shortage == 0 {
                break;
            }
            shortage = shortage.saturating_sub(holder.permits);
            holder.is_revoked.store(true, Ordering::Release);
            holder.revocation.notify_one();
        }
    }

    /// Returns the number of permits that waiters need beyond those already granted to them, and beyond those already
    /// revoked from idle holders, which are about to be released. A waiter that has not been polled since its grant
    /// still counts in the demand.
    fn shortage(&self, holders: &Slab<Arc<Holder>>) -> usize {
        let is_releasing = |holder: &Holder| holder.is_revoked() && holder.idle_time().is_some();
        let (mut held, mut releasing) = (0, 0);
        for (_, holder) in holders {
            held += holder.permits;
            releasing += if is_releasing(holder) { holder.permits } else { 0 };
        }
        let granted = (self.capacity as usize).saturating_sub(held + self.available.available_permits());
        self.demand.load(Ordering::Relaxed).saturating_sub(granted + releasing)
    }

    /// True if the holder is revoked at any pause, without a grace period: a waiter starves, or the holder's time slice
    /// has expired.
    fn must_yield(&self, holder: &Holder) -> bool {
        self.starving.load(Ordering::Relaxed) > 0 || holder.acquired_at.elapsed() >= self.idle_grace * TIME_SLICE
    }
}

/// The task that revokes idle permits for as long as there are waiters. A single task does this for all holders, which
/// thus need no timer and no needless wake-up. If the task's runtime shuts down, the next waiter starts a new task.
struct ReclaimTask(Arc<PermitPool>);

impl ReclaimTask {
    /// Returns a new task unless there is one.
    fn start(pool: &Arc<PermitPool>) -> Option<Self> {
        let is_running = pool.is_reclaiming.swap(true, Ordering::AcqRel);
        (!is_running).then(|| Self(Arc::clone(pool)))
    }

    async fn run(self) {
        let mut task = self;
        loop {
            let pool = Arc::clone(&task.0);
            while pool.demand.load(Ordering::Acquire) > 0 {
                pool.revoke_idle();
                sleep((pool.idle_grace / 2).max(MIN_RECLAIM_INTERVAL)).await;
            }
            drop(task);
            // A waiter that found the task running is seen by this load; a later waiter starts a new task.
            if pool.demand.load(Ordering::Acquire) == 0 {
                return;
            }
            let Some(next) = Self::start(&pool) else {
                return;
            };
            task = next;
        }
    }
}

impl Drop for ReclaimTask {
    /// Marks the task as ended. The swap, unlike a store, reads the value of a waiter that has found the task running,
    /// and so makes the waiter's demand visible to this thread.
    fn drop(&mut self) {
        self.0.is_reclaiming.swap(false, Ordering::AcqRel);
    }
}

/// A waiter for permits, counted in the pool's demand until dropped.
struct Waiter<'a> {
    pool: &'a PermitPool,
    permits: usize,
    is_starving: bool,
}

impl<'a> Waiter<'a> {
    fn new(pool: &'a PermitPool, permits: usize) -> Self {
        pool.demand.fetch_add(permits, Ordering::AcqRel);
        Self {
            pool,
            permits,
            is_starving: false,
        }
    }

    fn mark_starving(&mut self) {
        self.is_starving = true;
        self.pool.starving.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.pool.demand.fetch_sub(self.permits, Ordering::AcqRel);
        if self.is_starving {
            self.pool.starving.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// State of a holder, shared between its [`Permit`] and the pool.
struct Holder {
    permits: usize,
    acquired_at: Instant,
    /// Start of the current idle period, in microseconds after `acquired_at`; [`BUSY`] outside of idle periods.
    idle_since: AtomicU64,
    is_revoked: AtomicBool,
    /// Wakes [`Permit::revoked`] after `is_revoked` was set.
    revocation: Notify,
}

impl Holder {
    fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::Acquire)
    }

    /// Returns the length of the current idle period; `None` while busy.
    fn idle_time(&self) -> Option<Duration> {
        let since = self.idle_since.load(Ordering::Relaxed);
        (since != BUSY).then(|| self.acquired_at.elapsed().saturating_sub(Duration::from_micros(since)))
    }
}

/// Permits acquired together. Dropping the value releases all of them.
pub struct Permit {
    pool: Arc<PermitPool>,
    key: usize,
    holder: Arc<Holder>,
    _granted: OwnedSemaphorePermit,
}

impl Permit {
    /// Marks the holder as idle since `idle_since` and completes when its permits are revoked because others wait. Then
    /// the caller must drop the permit at once. Cancel safe: dropping the future marks the holder as busy and cancels a
    /// pending revocation; the next idle period starts afresh.
    pub async fn revoked(&mut self, idle_since: Instant) {
        let (pool, holder) = (&self.pool, &self.holder);
        // A revocation may have come just after the end of the last idle period.
        holder.is_revoked.store(false, Ordering::Release);
        let idle = IdleGuard::new(holder, idle_since);
        let has_waiters = pool.demand.load(Ordering::Relaxed) > 0;
        if has_waiters && pool.must_yield(holder) && pool.shortage(&pool.holders.lock()) > 0 {
            holder.is_revoked.store(true, Ordering::Release);
        }
        // A stored notification may belong to a revocation that was cancelled: only the flag counts.
        while !holder.is_revoked() {
            holder.revocation.notified().await;
        }
        std::mem::forget(idle);
    }
}

/// Marks a holder as idle until dropped.
struct IdleGuard<'a>(&'a Holder);

impl<'a> IdleGuard<'a> {
    fn new(holder: &'a Holder, since: Instant) -> Self {
        let since = since.saturating_duration_since(holder.acquired_at).as_micros();
        let since = u64::try_from(since).unwrap_or(BUSY - 1);
        holder.idle_since.store(since, Ordering::Relaxed);
        Self(holder)
    }
}

impl Drop for IdleGuard<'_> {
    fn drop(&mut self) {
        self.0.idle_since.store(BUSY, Ordering::Relaxed);
        self.0.is_revoked.store(false, Ordering::Release);
    }
}

impl Drop for Permit {
    /// Removes the holder; the permits go to the next waiters.
    fn drop(&mut self) {
        self.pool.holders.lock().try_remove(self.key);
    }
}

#[cfg(all(test, not(loom)))]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// True if the permit is revoked from a holder that has been idle for `idle_time`.
    fn is_revoked(pool: &PermitPool, permit: &mut Permit, idle_time: Duration) -> bool {
        let since = Instant::now().checked_sub(idle_time).expect("the machine is up");
        let mut revoked = pin!(permit.revoked(since));
        revoked.as_mut().now_or_never().is_some() || {
            pool.revoke_idle();
            revoked.now_or_never().is_some()
        }
    }

    /// A pool without free permits, whose two holders have existed for a grace period.
    async fn two_holders() -> (Arc<PermitPool>, [Permit; 2]) {
        let pool = PermitPool::new(200);
        let first = pool.acquire(100, TIMEOUT).await.expect("free");
        let second = pool.acquire(100, TIMEOUT).await.expect("free");
        tokio::time::sleep(MAX_IDLE_GRACE).await;
        (pool, [first, second])
    }

    /// Polls the future once, which enters the queue of waiters.
    fn start_waiting(waiting: &mut (impl Future<Output = Result<Permit, AcquireTimeout>> + Unpin)) {
        assert!(waiting.now_or_never().is_none(), "no permit is free");
    }

    #[tokio::test(start_paused = true)]
    async fn revokes_idle_permits_only_while_others_wait_and_after_the_grace_period() {
        let pool = PermitPool::new(200);
        let mut held = pool.acquire(200, TIMEOUT).await.expect("all are free");
        // A holder cannot have been idle for longer than it exists.
        tokio::time::sleep(MAX_IDLE_GRACE).await;
        assert!(!is_revoked(&pool, &mut held, MAX_IDLE_GRACE), "there is no waiter");
        let mut waiting = Box::pin(pool.acquire(1, TIMEOUT));
        start_waiting(&mut waiting);
        assert!(!is_revoked(&pool, &mut held, Duration::ZERO), "the holder is not idle");
        held.revoked(Instant::now()).await;
        drop(held);
        let mut held = waiting.await.expect("released");
        tokio::time::sleep(MAX_IDLE_GRACE).await;
        assert!(
            !is_revoked(&pool, &mut held, MAX_IDLE_GRACE),
            "the only waiter has a permit"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn revokes_no_more_permits_than_waiters_need() {
        let (pool, [mut half, mut other_half]) = two_holders().await;
        let mut first = Box::pin(pool.acquire(100, TIMEOUT));
        start_waiting(&mut first);
        assert!(is_revoked(&pool, &mut half, MAX_IDLE_GRACE));
        assert!(
            !is_revoked(&pool, &mut other_half, MAX_IDLE_GRACE),
            "the first half is about to be released"
        );
        drop(half);
        let mut half = first.await.expect("released");
        assert!(
            !is_revoked(&pool, &mut other_half, MAX_IDLE_GRACE),
            "the first half was enough"
        );

        let mut gives_up = Box::pin(pool.acquire(1, TIMEOUT));
        start_waiting(&mut gives_up);
        drop(gives_up);
        tokio::time::sleep(MAX_IDLE_GRACE).await;
        assert!(!is_revoked(&pool, &mut half, MAX_IDLE_GRACE), "the waiter has given up");

        let mut second = Box::pin(pool.acquire(1, TIMEOUT));
        start_waiting(&mut second);
        drop(half);
        second.await.expect("free");
        assert!(
            !is_revoked(&pool, &mut other_half, MAX_IDLE_GRACE),
            "a permit became free without revocation"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn waiter_with_a_grant_is_no_demand_before_its_next_poll() {
        let (pool, [half, mut other_half]) = two_holders().await;
        let mut waiting = Box::pin(pool.acquire(100, TIMEOUT));
        start_waiting(&mut waiting);
        drop(half);
        assert!(
            !is_revoked(&pool, &mut other_half, MAX_IDLE_GRACE),
            "the waiter has its permits"
        );
        waiting.await.expect("granted");
    }

    #[tokio::test(start_paused = true)]
    async fn revokes_the_longest_idle_holder_first() {
        let (pool, [mut first, mut second]) = two_holders().await;
        let mut waiting = Box::pin(pool.acquire(1, TIMEOUT));
        start_waiting(&mut waiting);
        let now = Instant::now();
        let earlier = now.checked_sub(MAX_IDLE_GRACE).expect("the machine is up");
        let (mut first, mut second) = (pin!(first.revoked(now)), pin!(second.revoked(earlier)));
        tokio::select! {
            biased;
            () = &mut first => panic!("the other has been idle for longer"),
            () = &mut second => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_count_on_revoked_holders_that_became_busy_again() {
        let (pool, [mut busy, mut idle]) = two_holders().await;
        let _waiter = Waiter::new(&pool, 1);
        {
            let since = busy.holder.acquired_at;
            let mut revoked = pin!(busy.revoked(since));
            assert!(revoked.as_mut().now_or_never().is_none());
            pool.revoke_idle();
            // The holder becomes busy at the same moment: the future is dropped.
        }
        assert!(
            is_revoked(&pool, &mut idle, MAX_IDLE_GRACE),
            "the other is revoked instead"
        );
        drop(idle);
        assert!(!is_revoked(&pool, &mut busy, Duration::ZERO), "it has just become idle");
        assert!(is_revoked(&pool, &mut busy, MAX_IDLE_GRACE));
    }

    #[tokio::test(start_paused = true)]
    async fn revokes_busy_holders_at_any_pause_after_their_time_slice_or_for_a_starving_waiter() {
        let small = PermitPool::new(1);
        let mut held = small.acquire(1, TIMEOUT).await.expect("free");
        let mut waiting = Box::pin(small.acquire(1, TIMEOUT));
        start_waiting(&mut waiting);
        while !is_revoked(&small, &mut held, Duration::ZERO) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(held);
        waiting.await.expect("released");

        let large = PermitPool::new(200);
        let mut held = large.acquire(200, TIMEOUT).await.expect("free");
        let mut waiter = Waiter::new(&large, 1);
        assert!(!is_revoked(&large, &mut held, Duration::ZERO));
        waiter.mark_starving();
        assert!(is_revoked(&large, &mut held, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn acquire_fails_after_its_timeout() {
        let pool = PermitPool::new(1);
        let _held = pool.acquire(1, TIMEOUT).await.expect("free");
        let waited = pool
            .acquire(1, Duration::from_millis(20))
            .await
            .err()
            .expect("it is held")
            .waited;
        assert!(waited >= Duration::from_millis(20));
    }

    #[test]
    fn permits_are_revoked_again_after_a_shutdown_of_the_runtime_with_the_reclaim_task() {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_time().start_paused(true).build().expect("a runtime")
        };
        let pool = PermitPool::new(1);
        runtime().block_on(async {
            let _held = pool.acquire(1, TIMEOUT).await.expect("free");
            start_waiting(&mut Box::pin(pool.acquire(1, TIMEOUT)));
            tokio::task::yield_now().await;
        });
        runtime().block_on(async {
            let mut held = pool.acquire(1, TIMEOUT).await.expect("free");
            let mut waiting = Box::pin(pool.acquire(1, TIMEOUT));
            start_waiting(&mut waiting);
            timeout(TIMEOUT, held.revoked(Instant::now())).await.expect("revoked");
            drop(held);
            waiting.await.expect("released");
        });
    }
}
