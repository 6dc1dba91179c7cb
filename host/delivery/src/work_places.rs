//! Bound on the messages that this host works on itself: reads, resolves, and writes to mailboxes. A message that only
//! waits for other hosts has no place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Places of the messages that are worked on.
#[derive(Default)]
pub(super) struct WorkPlaces {
    used: AtomicUsize,
    left: Notify,
}

/// A place of a message. Dropping the place lets the scheduler claim another message.
pub(super) struct WorkPlace(Arc<WorkPlaces>);

impl WorkPlaces {
    pub(super) fn enter(self: &Arc<Self>) -> WorkPlace {
        self.used.fetch_add(1, Ordering::Relaxed);
        WorkPlace(Arc::clone(self))
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns when a place was left since the last call. Cancel safe. Supports a single waiter.
    pub(super) async fn left(&self) {
        self.left.notified().await;
    }
}

impl Drop for WorkPlace {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::Relaxed);
        self.0.left.notify_one();
    }
}
