//! Model tests: `loom` runs each for every relevant interleaving of the threads. Time stands still, and the pools have
//! no grace period, so that a holder may be revoked at any pause.

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

#[test]
fn waiter_that_comes_while_the_reclaim_task_ends_is_served() {
    check(2, |pool| {
        let permit = acquire(&pool);
        let other = {
            let pool = pool.clone();
            thread::spawn(move || idle(acquire(&pool)))
        };
        idle(permit);
        drop(acquire(&pool));
        other.join().expect("no panic");
    });
}

#[test]
fn holder_that_pauses_again_can_be_revoked_after_a_cancelled_revocation() {
    check(2, |pool| {
        let mut permit = acquire(&pool);
        let waiter = {
            let pool = pool.clone();
            thread::spawn(move || drop(acquire(&pool)))
        };
        let is_revoked = futures_util::FutureExt::now_or_never(permit.revoked(Instant::now())).is_some();
        if is_revoked {
            drop(permit);
        } else {
            idle(permit);
        }
        waiter.join().expect("no panic");
    });
}

#[test]
fn at_most_a_single_reclaim_task_runs_and_no_waiter_is_left_without() {
    check(3, |pool| {
        let waiters = [(); 2].map(|()| {
            let pool = pool.clone();
            thread::spawn(move || {
                let _waiter = Waiter::new(&pool, 1);
                ReclaimTask::start(&pool).is_some()
            })
        });
        let task = ReclaimTask::start(&pool);
        let is_first = task.is_some();
        drop(task);
        let is_left = pool.demand.load(Ordering::Acquire) > 0;
        let started = waiters.map(|waiter| waiter.join().expect("no panic"));
        let _ = (is_first, is_left, started);
    });
}
