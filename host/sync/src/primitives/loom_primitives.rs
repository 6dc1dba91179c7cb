//! Primitives of the model tests. Semaphores and notifications remain those of `tokio`, whose operations are single steps
//! for `loom`.

use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// `parking_lot::Mutex` over that of `loom`.
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

/// `parking_lot::MutexGuard` over that of `loom`.
pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().expect("a panic ends the model")))
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("set outside of a wait")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("set outside of a wait")
    }
}

/// `parking_lot::Condvar` over that of `loom`. The timeout of a wait passes when the model calls [`Self::elapse`].
pub(crate) struct Condvar {
    condvar: loom::sync::Condvar,
    has_elapsed: std::sync::atomic::AtomicBool,
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self {
            condvar: loom::sync::Condvar::new(),
            has_elapsed: false.into(),
        }
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let locked = guard.0.take().expect("set outside of a wait");
        guard.0 = Some(self.condvar.wait(locked).expect("a panic ends the model"));
    }

    pub(crate) fn wait_while_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        mut condition: impl FnMut(&mut T) -> bool,
        _: Duration,
    ) {
        while condition(guard) && !self.has_elapsed.load(Ordering::SeqCst) {
            self.wait(guard);
        }
    }

    pub(crate) fn notify_one(&self) {
        self.condvar.notify_one();
    }

    /// Ends the current wait with a timeout, if any, and each later wait with a timeout at once.
    pub(crate) fn elapse<T>(&self, mutex: &Mutex<T>) {
        let guard = mutex.lock();
        self.has_elapsed.store(true, Ordering::SeqCst);
        drop(guard);
        self.condvar.notify_one();
    }
}

/// `tokio::sync::Notify`, whose notifications order the memory accesses of the threads for `loom` too.
pub(crate) struct Notify {
    notify: tokio::sync::Notify,
    order: AtomicUsize,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Self {
            notify: tokio::sync::Notify::new(),
            order: AtomicUsize::new(0),
        }
    }

    pub(crate) fn notify_one(&self) {
        self.order.fetch_add(1, Ordering::AcqRel);
        self.notify.notify_one();
    }

    pub(crate) async fn notified(&self) {
        self.notify.notified().await;
        self.order.fetch_add(1, Ordering::AcqRel);
    }
}

/// A clock that stands still.
#[derive(Clone, Copy)]
pub struct Instant;

impl Instant {
    pub(crate) fn now() -> Self {
        Self
    }

    pub(crate) fn elapsed(self) -> Duration {
        Duration::ZERO
    }

    pub(crate) fn saturating_duration_since(self, _: Self) -> Duration {
        Duration::ZERO
    }
}

/// Lets other threads run; a time that has to pass can pass at any moment.
pub(crate) async fn sleep(_: Duration) {
    loom::thread::yield_now();
}

/// Waits for `future` without a limit.
pub(crate) async fn timeout<F: Future>(_: Duration, future: F) -> Result<F::Output, ()> {
    Ok(future.await)
}

/// Runs `future` on a thread of its own.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    loom::thread::spawn(move || block_on(future));
}

/// Runs `future` on the current thread. The waker of `loom::future::block_on` would not do: cloning it, which `tokio`
/// does under a lock, is a step of the model.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(loom::sync::Notify);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.notify();
        }
    }

    let mut future = pin!(future);
    let unpark = Arc::new(Unpark(loom::sync::Notify::new()));
    let waker = Waker::from(Arc::clone(&unpark));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        unpark.0.wait();
    }
}
