//! Who may have something of which there is only so much: instances of policies, turns of transactions. Work that holds some
//! without using them is asked for them when others wait, so that only what is at work can fill the pool; but not at
//! once, since its next question is most likely on its way, and to begin anew costs more than the others' waiting.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Slots are left where they are until they have been idle for so long, if the pool is a large one.
const IDLE: Duration = Duration::from_millis(25);
/// The same for each instance of a small pool: one that nobody uses must not wait while the processors do.
const IDLE_EACH: Duration = Duration::from_micros(125);
/// Work that has had slots for so many times the time of idleness gives way whenever it pauses, however shortly.
const TURN: u32 = 10;
/// Who has waited for so long gets the slots of whoever pauses.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The slots that may be taken at once.
pub struct Pool {
    free: Arc<Semaphore>,
    capacity: u32,
    idle: Duration,
    /// So many are wanted by work that waits, and nobody was asked for them yet.
    wanted: Semaphore,
    /// Work that has waited for too long.
    pressing: AtomicUsize,
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
            wanted: Semaphore::new(0),
            pressing: AtomicUsize::new(0),
        })
    }

    /// The right to `count` slots, once it can be had. All at once: work that holds some and waits for more could
    /// wait for itself. In the order in which it was asked for.
    pub async fn take(self: &Arc<Self>, count: usize, wait: Duration) -> Result<Slots, Overload> {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(self.capacity);
        let since = Instant::now();
        let granted = match Arc::clone(&self.free).try_acquire_many_owned(count) {
            Ok(free) => Some(free),
            Err(_) => self.wait(count, wait).await,
        };
        let granted = granted.ok_or_else(|| Overload {
            waited: since.elapsed(),
        })?;
        Ok(Slots {
            pool: Arc::clone(self),
            granted,
            since: Instant::now(),
            asked_for: 0,
        })
    }

    async fn wait(&self, count: u32, wait: Duration) -> Option<OwnedSemaphorePermit> {
        let mut asking = Asking::new(self, count as usize);
        let granted = async {
            let mut granted = pin!(Arc::clone(&self.free).acquire_many_owned(count));
            tokio::select! {
                biased;
                granted = &mut granted => return granted.ok(),
                () = tokio::time::sleep(PATIENCE.min(wait / 4 * 3)) => asking.press(),
            }
            granted.await.ok()
        };
        let granted = tokio::time::timeout(wait, granted).await.ok().flatten();
        if granted.is_some() {
            asking.wanted = 0;
        }
        granted
    }
}

/// Work that waits.
struct Asking<'a> {
    pool: &'a Pool,
    /// What nobody has to give back if this gives up. Whoever gives something back sees to it that it is not asked for
    /// again.
    wanted: usize,
    is_pressing: bool,
}

impl<'a> Asking<'a> {
    fn new(pool: &'a Pool, wanted: usize) -> Self {
        pool.wanted.add_permits(wanted);
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
        self.pool.wanted.forget_permits(self.wanted);
        if self.is_pressing {
            self.pool.pressing.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The right to some slots.
pub struct Slots {
    pool: Arc<Pool>,
    granted: OwnedSemaphorePermit,
    since: Instant,
    /// Of those, taken off what is wanted already.
    asked_for: usize,
}

impl Slots {
    /// Completes when these, idle since then, are to be given back since others want them. Who has been idle for longest is
    /// asked first; given up, the next one is.
    pub async fn wanted(&mut self, idle_since: Instant) {
        let Ok(asked) = self.pool.wanted.acquire().await else {
            return;
        };
        let (idle, enough) = (idle_since.elapsed(), self.pool.idle);
        let has_had_its_turn = self.since.elapsed() >= enough * TURN;
        if idle < enough && !has_had_its_turn && self.pool.pressing.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(enough - idle).await;
        }
        asked.forget();
        self.asked_for = 1;
    }
}

impl Drop for Slots {
    /// Work that waits has them from here on.
    fn drop(&mut self) {
        let more = self.granted.num_permits().saturating_sub(self.asked_for);
        self.pool.wanted.forget_permits(more);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const WAIT: Duration = Duration::from_secs(60);

    fn long_ago() -> Instant {
        Instant::now().checked_sub(IDLE).expect("the machine is up")
    }

    fn is_wanted(held: &mut Slots, since: Instant) -> bool {
        held.wanted(since).now_or_never().is_some()
    }

    #[tokio::test]
    async fn idle_instances_are_given_back_if_somebody_waits_and_not_at_once() {
        let pool = Pool::new(200);
        let mut held = pool.take(200, WAIT).await.expect("all are free");
        assert!(!is_wanted(&mut held, long_ago()), "nobody waits");
        let mut waiting = pin!(pool.take(1, WAIT));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(!is_wanted(&mut held, Instant::now() + WAIT), "it is not idle");
        held.wanted(Instant::now()).await;
        drop(held);
        let mut held = waiting.await.expect("it was given back");
        assert!(!is_wanted(&mut held, long_ago()), "whoever waited has it");
    }

    #[tokio::test]
    async fn as_many_are_asked_as_are_wanted() {
        let pool = Pool::new(200);
        let mut half = pool.take(100, WAIT).await.expect("free");
        let mut other_half = pool.take(100, WAIT).await.expect("free");
        let mut first = Box::pin(pool.take(100, WAIT));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(is_wanted(&mut half, long_ago()));
        drop(half);
        assert!(!is_wanted(&mut other_half, long_ago()), "one is enough");
        let mut half = first.await.expect("given back");

        let mut gives_up = Box::pin(pool.take(1, WAIT));
        assert!(gives_up.as_mut().now_or_never().is_none());
        drop(gives_up);
        assert!(!is_wanted(&mut half, long_ago()), "nobody waits any more");

        let mut second = Box::pin(pool.take(1, WAIT));
        assert!(second.as_mut().now_or_never().is_none());
        drop(half);
        assert!(!is_wanted(&mut other_half, long_ago()), "what was free anyway serves");
        second.await.expect("free");
    }

    /// Returns when work that is never idle has given its instances back to others.
    async fn never_idle(pool: &Arc<Pool>, mut held: Slots, turn: Duration) {
        let busy = async {
            held.since += turn;
            while !is_wanted(&mut held, Instant::now()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            drop(held);
        };
        let (waited, ()) = tokio::join!(pool.take(1, WAIT), busy);
        waited.expect("given back");
    }

    #[tokio::test]
    async fn who_is_never_idle_gives_way_after_its_turn_or_to_who_has_waited_for_long() {
        let pool = Pool::new(200);
        let held = pool.take(200, WAIT).await.expect("all are free");
        never_idle(&pool, held, Duration::ZERO).await;
        let held = pool.take(200, WAIT).await.expect("all are free");
        let never_over = WAIT;
        never_idle(&pool, held, never_over).await;
    }
}
