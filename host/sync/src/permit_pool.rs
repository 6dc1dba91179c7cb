//! Who may have something of which there is only so much: instances of policies, turns of clients. Work that holds some
//! without using them is asked for them when others wait, so that only what is at work can fill the pool; but not at
//! once, since its next question is most likely on its way, and to begin anew costs more than the others' waiting.

use std::cmp::Reverse;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Slots are left where they are until they have been idle for so long, if the pool is a large one.
const IDLE: Duration = Duration::from_millis(25);
/// The same for each instance of a small pool: one that nobody uses must not wait while the processors do.
const IDLE_EACH: Duration = Duration::from_micros(125);
/// Work that has had slots for so many times the time of idleness gives way whenever it pauses, however shortly.
const TURN: u32 = 10;
/// While some wait it is looked for who is idle, no more often than this.
const LOOK: Duration = Duration::from_millis(1);
/// Stands for work that is not idle.
const AT_WORK: u64 = u64::MAX;

/// The slots that may be taken at once.
pub struct PermitPool {
    free: Arc<Semaphore>,
    capacity: u32,
    idle: Duration,
    /// Who has some.
    holders: Mutex<Slab<Arc<Holder>>>,
    /// So many are wanted by work that waits.
    revoked: AtomicUsize,
    /// Work that has waited for too long.
    starving: AtomicUsize,
    /// Somebody sees to it that what is idle is asked for.
    is_reclaiming: AtomicBool,
}

/// None was free in time.
#[derive(Debug, Clone, Copy)]
pub struct AcquireTimeout {
    /// How long was waited.
    pub waited: Duration,
}

impl PermitPool {
    /// So many, all free.
    pub fn new(capacity: u32) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(capacity as usize)),
            capacity,
            idle: IDLE.min(IDLE_EACH.saturating_mul(capacity)),
            holders: Mutex::default(),
            revoked: AtomicUsize::new(0),
            starving: AtomicUsize::new(0),
            is_reclaiming: AtomicBool::new(false),
        })
    }

    /// The right to `count` slots, once it can be had. All at once: work that holds some and waits for more could
    /// wait for itself. In the order in which it was asked for.
    pub async fn acquire(self: &Arc<Self>, count: usize, wait: Duration) -> Result<Permit, AcquireTimeout> {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(self.capacity);
        let granted = match Arc::clone(&self.free).try_acquire_many_owned(count) {
            Ok(free) => free,
            Err(_) => {
                let since = Instant::now();
                let waited = self.wait(count, wait).await;
                waited.ok_or_else(|| AcquireTimeout {
                    waited: since.elapsed(),
                })?
            }
        };
        let holder = Arc::new(Holder {
            permits: count as usize,
            since: Instant::now(),
            idle: AtomicU64::new(AT_WORK),
            is_revoked: AtomicBool::new(false),
            notified_of_revocation: Notify::new(),
        });
        Ok(Permit {
            key: self.holders().insert(Arc::clone(&holder)),
            holder,
            pool: Arc::clone(self),
            _granted: granted,
        })
    }

    async fn wait(self: &Arc<Self>, count: u32, wait: Duration) -> Option<OwnedSemaphorePermit> {
        let mut asking = Waiter::new(self, count as usize);
        if !self.is_reclaiming.swap(true, Ordering::AcqRel) {
            tokio::spawn(Arc::clone(self).reclaim());
        }
        let granted = async {
            let mut granted = pin!(Arc::clone(&self.free).acquire_many_owned(count));
            tokio::select! {
                biased;
                granted = &mut granted => return granted.ok(),
                // Who has waited for so long gets the slots of whoever pauses.
                () = tokio::time::sleep(wait / 4 * 3) => asking.mark_starving(),
            }
            granted.await.ok()
        };
        tokio::time::timeout(wait, granted).await.ok().flatten()
    }

    /// Sees to it that what is idle is asked for, for as long as some wait: one task for all of them, so that who holds
    /// slots needs no clock and is not woken for nothing. It does not survive its runtime, nor does the pool.
    async fn reclaim(self: Arc<Self>) {
        loop {
            while self.revoked.load(Ordering::Acquire) > 0 {
                self.revoke_idle();
                tokio::time::sleep((self.idle / 2).max(LOOK)).await;
            }
            // Who came before this saw that it is watched, and is seen here; who comes after it begins anew.
            self.is_reclaiming.swap(false, Ordering::AcqRel);
            if self.revoked.load(Ordering::Acquire) == 0 || self.is_reclaiming.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }

    /// Asks as much idle work as has what is wanted: the idlest first.
    fn revoke_idle(&self) {
        let holders = self.holders();
        let mut short = self.shortage(&holders);
        let mut idle: Vec<_> = holders
            .iter()
            .filter(|(_, holder)| !holder.is_revoked())
            .filter_map(|(_, holder)| holder.has_been_idle().map(|idle| (idle, holder)))
            .filter(|(idle, holder)| *idle >= self.idle || self.must_yield(holder))
            .collect();
        idle.sort_unstable_by_key(|(idle, _)| Reverse(*idle));
        for (_, holder) in idle {
            if short == 0 {
                break;
            }
            short = short.saturating_sub(holder.permits);
            holder.is_revoked.store(true, Ordering::Release);
            holder.notified_of_revocation.notify_one();
        }
    }

    /// So many are wanted beyond those that are free, or on their way: idle work that was asked has nothing to do but to give
    /// back what it has.
    fn shortage(&self, holders: &Slab<Arc<Holder>>) -> usize {
        let is_coming = |holder: &Holder| holder.is_revoked() && holder.has_been_idle().is_some();
        let coming = holders.iter().filter(|(_, holder)| is_coming(holder));
        let coming: usize = coming.map(|(_, holder)| holder.permits).sum();
        self.revoked.load(Ordering::Relaxed).saturating_sub(coming)
    }

    /// Whether this work gives way whenever it pauses.
    fn must_yield(&self, holder: &Holder) -> bool {
        self.starving.load(Ordering::Relaxed) > 0 || holder.since.elapsed() >= self.idle * TURN
    }

    /// Nothing that holds the lock can panic half-way.
    fn holders(&self) -> MutexGuard<'_, Slab<Arc<Holder>>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work that waits.
struct Waiter<'a> {
    pool: &'a PermitPool,
    revoked: usize,
    is_starving: bool,
}

impl<'a> Waiter<'a> {
    fn new(pool: &'a PermitPool, revoked: usize) -> Self {
        pool.revoked.fetch_add(revoked, Ordering::AcqRel);
        Self {
            pool,
            revoked,
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
        self.pool.revoked.fetch_sub(self.revoked, Ordering::AcqRel);
        if self.is_starving {
            self.pool.starving.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What the pool knows of work that has slots.
struct Holder {
    permits: usize,
    since: Instant,
    /// In microseconds after `since`; or [`AT_WORK`].
    idle: AtomicU64,
    is_revoked: AtomicBool,
    notified_of_revocation: Notify,
}

impl Holder {
    fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::Acquire)
    }

    fn has_been_idle(&self) -> Option<Duration> {
        let idle = self.idle.load(Ordering::Relaxed);
        (idle != AT_WORK).then(|| self.since.elapsed().saturating_sub(Duration::from_micros(idle)))
    }
}

/// The right to some slots.
pub struct Permit {
    pool: Arc<PermitPool>,
    key: usize,
    holder: Arc<Holder>,
    _granted: OwnedSemaphorePermit,
}

impl Permit {
    /// Completes when these, idle since then, are to be given back since others want them, which is to be done at once. Dropped
    /// before, it leaves nothing: who has gone on with its work is asked anew.
    pub async fn revoked(&mut self, idle_since: Instant) {
        let (pool, holder) = (&self.pool, &self.holder);
        let idle = IdleGuard::new(holder, idle_since);
        let is_wanted = pool.revoked.load(Ordering::Relaxed) > 0;
        let must_yield = is_wanted && pool.must_yield(holder) && pool.shortage(&pool.holders()) > 0;
        holder.is_revoked.store(must_yield, Ordering::Release);
        // An asking of before may have been left.
        while !holder.is_revoked() {
            holder.notified_of_revocation.notified().await;
        }
        std::mem::forget(idle);
    }
}

/// Work is idle for as long as this lives.
struct IdleGuard<'a>(&'a Holder);

impl<'a> IdleGuard<'a> {
    fn new(holder: &'a Holder, since: Instant) -> Self {
        let since = since.saturating_duration_since(holder.since).as_micros();
        let since = u64::try_from(since).unwrap_or(AT_WORK - 1);
        holder.idle.store(since, Ordering::Relaxed);
        Self(holder)
    }
}

impl Drop for IdleGuard<'_> {
    fn drop(&mut self) {
        self.0.idle.store(AT_WORK, Ordering::Relaxed);
        self.0.is_revoked.store(false, Ordering::Release);
    }
}

impl Drop for Permit {
    /// Work that waits has them from here on.
    fn drop(&mut self) {
        self.pool.holders().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const WAIT: Duration = Duration::from_secs(60);

    /// Whether this work, idle for so long, is asked for what it has.
    fn is_revoked(pool: &PermitPool, held: &mut Permit, idle: Duration) -> bool {
        let since = Instant::now().checked_sub(idle).expect("the machine is up");
        let mut revoked = pin!(held.revoked(since));
        revoked.as_mut().now_or_never().is_some() || {
            pool.revoke_idle();
            revoked.now_or_never().is_some()
        }
    }

    /// A pool that is taken, in halves that can have been idle.
    async fn halves() -> (Arc<PermitPool>, [Permit; 2]) {
        let pool = PermitPool::new(200);
        let first = pool.acquire(100, WAIT).await.expect("free");
        let second = pool.acquire(100, WAIT).await.expect("free");
        tokio::time::sleep(IDLE).await;
        (pool, [first, second])
    }

    /// It waits from here on.
    fn begins(waiting: &mut (impl Future<Output = Result<Permit, AcquireTimeout>> + Unpin)) {
        assert!(waiting.now_or_never().is_none(), "nothing is free");
    }

    #[tokio::test]
    async fn idle_slots_are_given_back_if_somebody_waits_and_not_at_once() {
        let pool = PermitPool::new(200);
        let mut held = pool.acquire(200, WAIT).await.expect("all are free");
        // What it holds cannot have been idle for longer.
        tokio::time::sleep(IDLE).await;
        assert!(!is_revoked(&pool, &mut held, IDLE), "nobody waits");
        let mut waiting = Box::pin(pool.acquire(1, WAIT));
        begins(&mut waiting);
        assert!(!is_revoked(&pool, &mut held, Duration::ZERO), "it is not idle");
        held.revoked(Instant::now()).await;
        drop(held);
        let mut held = waiting.await.expect("it was given back");
        tokio::time::sleep(IDLE).await;
        assert!(!is_revoked(&pool, &mut held, IDLE), "whoever waited has it");
    }

    #[tokio::test]
    async fn as_many_are_asked_as_are_wanted() {
        let (pool, [mut half, mut other_half]) = halves().await;
        let mut first = Box::pin(pool.acquire(100, WAIT));
        begins(&mut first);
        assert!(is_revoked(&pool, &mut half, IDLE));
        assert!(!is_revoked(&pool, &mut other_half, IDLE), "one is on its way");
        drop(half);
        let mut half = first.await.expect("given back");
        assert!(!is_revoked(&pool, &mut other_half, IDLE), "one was enough");

        let mut gives_up = Box::pin(pool.acquire(1, WAIT));
        begins(&mut gives_up);
        drop(gives_up);
        tokio::time::sleep(IDLE).await;
        assert!(!is_revoked(&pool, &mut half, IDLE), "nobody waits any more");

        let mut second = Box::pin(pool.acquire(1, WAIT));
        begins(&mut second);
        drop(half);
        second.await.expect("free");
        assert!(!is_revoked(&pool, &mut other_half, IDLE), "what was free anyway serves");
    }

    #[tokio::test]
    async fn the_idlest_is_asked_first() {
        let (pool, [mut first, mut second]) = halves().await;
        let mut waiting = Box::pin(pool.acquire(1, WAIT));
        begins(&mut waiting);
        let now = Instant::now();
        let earlier = now.checked_sub(IDLE).expect("the machine is up");
        let (mut first, mut second) = (pin!(first.revoked(now)), pin!(second.revoked(earlier)));
        tokio::select! {
            biased;
            () = &mut first => panic!("the other has been idle for longer"),
            () = &mut second => {}
        }
    }

    #[tokio::test]
    async fn who_has_gone_on_with_its_work_is_not_counted_on() {
        let (pool, [mut busy, mut idle]) = halves().await;
        let _waiting = Waiter::new(&pool, 1);
        {
            let since = busy.holder.since;
            let mut revoked = pin!(busy.revoked(since));
            assert!(revoked.as_mut().now_or_never().is_none());
            pool.revoke_idle();
            // What it waited for came at the same time.
        }
        assert!(is_revoked(&pool, &mut idle, IDLE), "the other is asked in its place");
        drop(idle);
        assert!(
            !is_revoked(&pool, &mut busy, Duration::ZERO),
            "it has just begun to pause"
        );
        assert!(is_revoked(&pool, &mut busy, IDLE));
    }

    #[tokio::test]
    async fn who_is_never_idle_gives_way_after_its_turn_or_to_who_has_waited_for_long() {
        let small = PermitPool::new(1);
        let mut held = small.acquire(1, WAIT).await.expect("free");
        let mut waiting = Box::pin(small.acquire(1, WAIT));
        begins(&mut waiting);
        while !is_revoked(&small, &mut held, Duration::ZERO) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(held);
        waiting.await.expect("given back");

        let large = PermitPool::new(200);
        let mut held = large.acquire(200, WAIT).await.expect("free");
        let mut waiting = Waiter::new(&large, 1);
        assert!(!is_revoked(&large, &mut held, Duration::ZERO));
        waiting.mark_starving();
        assert!(is_revoked(&large, &mut held, Duration::ZERO));
    }

    #[tokio::test]
    async fn nobody_waits_for_longer_than_it_wants() {
        let pool = PermitPool::new(1);
        let _held = pool.acquire(1, WAIT).await.expect("free");
        let waited = pool
            .acquire(1, Duration::from_millis(20))
            .await
            .err()
            .expect("it is held")
            .waited;
        assert!(waited >= Duration::from_millis(20));
    }
}
