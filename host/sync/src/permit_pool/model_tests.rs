//! Model tests: `loom` runs each for every relevant interleaving of the threads. Time stands still, and the pools have
//! no grace period, so that a holder may be revoked at any pause.

use futures_util::FutureExt;
use loom::thread;

use super::*;
use crate::primitives::block_on;

const FOREVER: Duration = Duration::MAX;

/// Runs `model` for every interleaving. Switches of threads that still could run are bounded, which keeps the run
/// short; two find most faults.
fn check(preemptions: usize, model: impl Fn(Arc<PermitPool>) + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let mut pool = PermitPool::new(1);
        Arc::get_mut(&mut pool).expect("not shared yet").idle_grace = Duration::ZERO;
        model(pool);
    });
}

/// Number of interleavings that reached an assertion. A counter of the standard library: loom does not switch at it.
#[derive(Clone, Default)]
struct Hits(Arc<std::sync::atomic::AtomicUsize>);

impl Hits {
    fn add(&self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn assert_some(&self) {
        assert!(
            self.0.load(std::sync::atomic::Ordering::Relaxed) > 0,
            "no interleaving reached the assertion"
        );
    }
}

fn acquire(pool: &Arc<PermitPool>) -> Permit {
    block_on(pool.acquire(1, FOREVER)).expect("no timeout")
}

/// Idles until the permit is revoked.
fn idle(mut permit: Permit) {
    block_on(permit.revoked(Instant::now()));
}

#[test]
fn idle_holder_gives_way_to_a_waiter() {
    check(2, |pool| {
        let permit = acquire(&pool);
        let waiter = {
            let pool = pool.clone();
            thread::spawn(move || drop(acquire(&pool)))
        };
        idle(permit);
        waiter.join().expect("no panic");
        assert_eq!(pool.available.available_permits(), 1);
        assert_eq!(pool.demand.load(Ordering::SeqCst), 0);
    });
}

/// Adds a holder that is idle, in place of a session.
fn add_idle_holder(pool: &PermitPool) -> Arc<Holder> {
    let holder = Arc::new(Holder {
        permits: 1,
        acquired_at: Instant::now(),
        idle_since: AtomicU64::new(0),
        is_revoked: AtomicBool::new(false),
        revocation: Notify::new(),
    });
    pool.holders.lock().insert(holder.clone());
    holder
}

#[test]
fn waiter_that_comes_while_the_reclaim_task_ends_is_served() {
    check(3, |pool| {
        let holder = add_idle_holder(&pool);
        let task = ReclaimTask::start(&pool).expect("the first");
        let earlier = thread::spawn(move || block_on(task.run()));
        let waiter = Waiter::new(&pool, 1);
        if let Some(task) = ReclaimTask::start(&pool) {
            spawn(task.run());
        }
        block_on(holder.revocation.notified());
        drop(waiter);
        earlier.join().expect("no panic");
    });
}

#[test]
fn at_most_a_single_reclaim_task_runs() {
    let starts = Hits::default();
    check(3, {
        let starts = starts.clone();
        move |pool| {
            let running = Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let waiters = [(); 2].map(|()| {
                let (pool, running, starts) = (pool.clone(), running.clone(), starts.clone());
                thread::spawn(move || {
                    for _ in 0..2 {
                        if let Some(_task) = ReclaimTask::start(&pool) {
                            starts.add();
                            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
                            thread::yield_now();
                            running.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                })
            });
            for waiter in waiters {
                waiter.join().expect("no panic");
            }
        }
    });
    starts.assert_some();
}

#[test]
fn cancelled_revocation_does_not_delay_the_next() {
    let kept = Hits::default();
    check(3, {
        let kept = kept.clone();
        move |pool| {
            let mut permit = acquire(&pool);
            let waiter = {
                let pool = pool.clone();
                thread::spawn(move || {
                    let waiter = Waiter::new(&pool, 1);
                    pool.revoke_idle();
                    std::mem::forget(waiter);
                })
            };
            let is_revoked = permit.revoked(Instant::now()).now_or_never().is_some();
            waiter.join().expect("no panic");
            if !is_revoked {
                kept.add();
                assert_eq!(
                    pool.shortage(&pool.holders.lock()),
                    1,
                    "a busy holder is not counted on"
                );
                idle(permit);
            }
        }
    });
    kept.assert_some();
}
