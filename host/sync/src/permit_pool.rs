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
pub struct Pool {
    free: Arc<Semaphore>,
    capacity: u32,
    idle: Duration,
    /// Who has some.
    holders: Mutex<Slab<Arc<Holder>>>,
    /// So many are wanted by work that waits.
    wanted: AtomicUsize,
    /// Work that has waited for too long.
    pressing: AtomicUsize,
    /// Somebody sees to it that what is idle is asked for.
    is_watched: AtomicBool,
}

/// None was free in time.
#[derive(Debug, Clone, Copy)]
pub struct Overload {
    /// How long was waited.
    pub waited: Duration,
}

impl Pool {
    /// So many, all free.
    pub fn new(capacity: u32) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(capacity as usize)),
            capacity,
            idle: IDLE.min(IDLE_EACH.saturating_mul(capacity)),
            holders: Mutex::default(),
            wanted: AtomicUsize::new(0),
            pressing: AtomicUsize::new(0),
            is_watched: AtomicBool::new(false),
        })
    }

    /// The right to `count` slots, once it can be had. All at once: work that holds some and waits for more could
    /// wait for itself. In the order in which it was asked for.
    pub async fn take(self: &Arc<Self>, count: usize, wait: Duration) -> Result<Slots, Overload> {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(self.capacity);
        let granted = match Arc::clone(&self.free).try_acquire_many_owned(count) {
            Ok(free) => free,
            Err(_) => {
                let since = Instant::now();
                let waited = self.wait(count, wait).await;
                waited.ok_or_else(|| Overload {
                    waited: since.elapsed(),
                })?
            }
        };
        let holder = Arc::new(Holder {
            slots: count as usize,
            since: Instant::now(),
            idle: AtomicU64::new(AT_WORK),
            is_asked: AtomicBool::new(false),
            asked: Notify::new(),
        });
        Ok(Slots {
            key: self.holders().insert(Arc::clone(&holder)),
            holder,
            pool: Arc::clone(self),
            _granted: granted,
        })
    }

    async fn wait(self: &Arc<Self>, count: u32, wait: Duration) -> Option<OwnedSemaphorePermit> {
        let mut asking = Asking::new(self, count as usize);
        if !self.is_watched.swap(true, Ordering::AcqRel) {
            tokio::spawn(Arc::clone(self).watch());
        }
        let granted = async {
            let mut granted = pin!(Arc::clone(&self.free).acquire_many_owned(count));
            tokio::select! {
                biased;
                granted = &mut granted => return granted.ok(),
                // Who has waited for so long gets the slots of whoever pauses.
                () = tokio::time::sleep(wait / 4 * 3) => asking.press(),
            }
            granted.await.ok()
        };
        tokio::time::timeout(wait, granted).await.ok().flatten()
    }

    /// Sees to it that what is idle is asked for, for as long as some wait: one task for all of them, so that who holds
    /// slots needs no clock and is not woken for nothing. It does not survive its runtime, nor does the pool.
    async fn watch(self: Arc<Self>) {
        loop {
            while self.wanted.load(Ordering::Acquire) > 0 {
                self.ask();
                tokio::time::sleep((self.idle / 2).max(LOOK)).await;
            }
            // Who came before this saw that it is watched, and is seen here; who comes after it begins anew.
            self.is_watched.swap(false, Ordering::AcqRel);
            if self.wanted.load(Ordering::Acquire) == 0 || self.is_watched.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }

    /// Asks as much idle work as has what is wanted: the idlest first.
    fn ask(&self) {
        let holders = self.holders();
        let mut short = self.shortage(&holders);
        let mut idle: Vec<_> = holders
            .iter()
            .filter(|(_, holder)| !holder.is_asked())
            .filter_map(|(_, holder)| holder.has_been_idle().map(|idle| (idle, holder)))
            .filter(|(idle, holder)| *idle >= self.idle || self.gives_way(holder))
            .collect();
        idle.sort_unstable_by_key(|(idle, _)| Reverse(*idle));
        for (_, holder) in idle {
            if short == 0 {
                break;
            }
            short = short.saturating_sub(holder.slots);
            holder.is_asked.store(true, Ordering::Release);
            holder.asked.notify_one();
        }
    }

    /// So many are wanted beyond those that are free, or on their way: idle work that was asked has nothing to do but to give
    /// back what it has.
    fn shortage(&self, holders: &Slab<Arc<Holder>>) -> usize {
        let is_coming = |holder: &Holder| holder.is_asked() && holder.has_been_idle().is_some();
        let coming = holders.iter().filter(|(_, holder)| is_coming(holder));
        let coming: usize = coming.map(|(_, holder)| holder.slots).sum();
        self.wanted.load(Ordering::Relaxed).saturating_sub(coming)
    }

    /// Whether this work gives way whenever it pauses.
    fn gives_way(&self, holder: &Holder) -> bool {
        self.pressing.load(Ordering::Relaxed) > 0 || holder.since.elapsed() >= self.idle * TURN
    }

    /// Nothing that holds the lock can panic half-way.
    fn holders(&self) -> MutexGuard<'_, Slab<Arc<Holder>>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work that waits.
struct Asking<'a> {
    pool: &'a Pool,
    wanted: usize,
    is_pressing: bool,
}

impl<'a> Asking<'a> {
    fn new(pool: &'a Pool, wanted: usize) -> Self {
        pool.wanted.fetch_add(wanted, Ordering::AcqRel);
        Self {
            pool,
            wanted,
            is_pressing: false,
        }
    }

    fn press(&mut self) {
        self.is_pressing = true;
        self.pool.pressing.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.pool.wanted.fetch_sub(self.wanted, Ordering::AcqRel);
        if self.is_pressing {
            self.pool.pressing.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What the pool knows of work that has slots.
struct Holder {
    slots: usize,
    since: Instant,
    /// In microseconds after `since`; or [`AT_WORK`].
    idle: AtomicU64,
    is_asked: AtomicBool,
    asked: Notify,
}

impl Holder {
    fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Acquire)
    }

    fn has_been_idle(&self) -> Option<Duration> {
        let idle = self.idle.load(Ordering::Relaxed);
        (idle != AT_WORK).then(|| self.since.elapsed().saturating_sub(Duration::from_micros(idle)))
    }
}

/// The right to some slots.
pub struct Slots {
    pool: Arc<Pool>,
    key: usize,
    holder: Arc<Holder>,
    _granted: OwnedSemaphorePermit,
}

impl Slots {
    /// Completes when these, idle since then, are to be given back since others want them, which is to be done at once. Dropped
    /// before, it leaves nothing: who has gone on with its work is asked anew.
    pub async fn wanted(&mut self, idle_since: Instant) {
        let (pool, holder) = (&self.pool, &self.holder);
        let idle = Idle::new(holder, idle_since);
        let is_wanted = pool.wanted.load(Ordering::Relaxed) > 0;
        let gives_way = is_wanted && pool.gives_way(holder) && pool.shortage(&pool.holders()) > 0;
        holder.is_asked.store(gives_way, Ordering::Release);
        // An asking of before may have been left.
        while !holder.is_asked() {
            holder.asked.notified().await;
        }
        std::mem::forget(idle);
    }
}

/// Work is idle for as long as this lives.
struct Idle<'a>(&'a Holder);

impl<'a> Idle<'a> {
    fn new(holder: &'a Holder, since: Instant) -> Self {
        let since = since.saturating_duration_since(holder.since).as_micros();
        let since = u64::try_from(since).unwrap_or(AT_WORK - 1);
        holder.idle.store(since, Ordering::Relaxed);
        Self(holder)
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.idle.store(AT_WORK, Ordering::Relaxed);
        self.0.is_asked.store(false, Ordering::Release);
    }
}

impl Drop for Slots {
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
    fn is_asked(pool: &Pool, held: &mut Slots, idle: Duration) -> bool {
        let since = Instant::now().checked_sub(idle).expect("the machine is up");
        let mut wanted = pin!(held.wanted(since));
        wanted.as_mut().now_or_never().is_some() || {
            pool.ask();
            wanted.now_or_never().is_some()
        }
    }

    /// A pool that is taken, in halves that can have been idle.
    async fn halves() -> (Arc<Pool>, [Slots; 2]) {
        let pool = Pool::new(200);
        let first = pool.take(100, WAIT).await.expect("free");
        let second = pool.take(100, WAIT).await.expect("free");
        tokio::time::sleep(IDLE).await;
        (pool, [first, second])
    }

    /// It waits from here on.
    fn begins(waiting: &mut (impl Future<Output = Result<Slots, Overload>> + Unpin)) {
        assert!(waiting.now_or_never().is_none(), "nothing is free");
    }

    #[tokio::test]
    async fn idle_slots_are_given_back_if_somebody_waits_and_not_at_once() {
        let pool = Pool::new(200);
        let mut held = pool.take(200, WAIT).await.expect("all are free");
        // What it holds cannot have been idle for longer.
        tokio::time::sleep(IDLE).await;
        assert!(!is_asked(&pool, &mut held, IDLE), "nobody waits");
        let mut waiting = Box::pin(pool.take(1, WAIT));
        begins(&mut waiting);
        assert!(!is_asked(&pool, &mut held, Duration::ZERO), "it is not idle");
        held.wanted(Instant::now()).await;
        drop(held);
        let mut held = waiting.await.expect("it was given back");
        tokio::time::sleep(IDLE).await;
        assert!(!is_asked(&pool, &mut held, IDLE), "whoever waited has it");
    }

    #[tokio::test]
    async fn as_many_are_asked_as_are_wanted() {
        let (pool, [mut half, mut other_half]) = halves().await;
        let mut first = Box::pin(pool.take(100, WAIT));
        begins(&mut first);
        assert!(is_asked(&pool, &mut half, IDLE));
        assert!(!is_asked(&pool, &mut other_half, IDLE), "one is on its way");
        drop(half);
        let mut half = first.await.expect("given back");
        assert!(!is_asked(&pool, &mut other_half, IDLE), "one was enough");

        let mut gives_up = Box::pin(pool.take(1, WAIT));
        begins(&mut gives_up);
        drop(gives_up);
        tokio::time::sleep(IDLE).await;
        assert!(!is_asked(&pool, &mut half, IDLE), "nobody waits any more");

        let mut second = Box::pin(pool.take(1, WAIT));
        begins(&mut second);
        drop(half);
        second.await.expect("free");
        assert!(!is_asked(&pool, &mut other_half, IDLE), "what was free anyway serves");
    }

    #[tokio::test]
    async fn the_idlest_is_asked_first() {
        let (pool, [mut first, mut second]) = halves().await;
        let mut waiting = Box::pin(pool.take(1, WAIT));
        begins(&mut waiting);
        let now = Instant::now();
        let earlier = now.checked_sub(IDLE).expect("the machine is up");
        let (mut first, mut second) = (pin!(first.wanted(now)), pin!(second.wanted(earlier)));
        tokio::select! {
            biased;
            () = &mut first => panic!("the other has been idle for longer"),
            () = &mut second => {}
        }
    }

    #[tokio::test]
    async fn who_has_gone_on_with_its_work_is_not_counted_on() {
        let (pool, [mut busy, mut idle]) = halves().await;
        let _waiting = Asking::new(&pool, 1);
        {
            let since = busy.holder.since;
            let mut wanted = pin!(busy.wanted(since));
            assert!(wanted.as_mut().now_or_never().is_none());
            pool.ask();
            // What it waited for came at the same time.
        }
        assert!(is_asked(&pool, &mut idle, IDLE), "the other is asked in its place");
        drop(idle);
        assert!(
            !is_asked(&pool, &mut busy, Duration::ZERO),
            "it has just begun to pause"
        );
        assert!(is_asked(&pool, &mut busy, IDLE));
    }

    #[tokio::test]
    async fn who_is_never_idle_gives_way_after_its_turn_or_to_who_has_waited_for_long() {
        let small = Pool::new(1);
        let mut held = small.take(1, WAIT).await.expect("free");
        let mut waiting = Box::pin(small.take(1, WAIT));
        begins(&mut waiting);
        while !is_asked(&small, &mut held, Duration::ZERO) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(held);
        waiting.await.expect("given back");

        let large = Pool::new(200);
        let mut held = large.take(200, WAIT).await.expect("free");
        let mut waiting = Asking::new(&large, 1);
        assert!(!is_asked(&large, &mut held, Duration::ZERO));
        waiting.press();
        assert!(is_asked(&large, &mut held, Duration::ZERO));
    }

    #[tokio::test]
    async fn nobody_waits_for_longer_than_it_wants() {
        let pool = Pool::new(1);
        let _held = pool.take(1, WAIT).await.expect("free");
        let waited = pool
            .take(1, Duration::from_millis(20))
            .await
            .err()
            .expect("it is held")
            .waited;
        assert!(waited >= Duration::from_millis(20));
    }
}
