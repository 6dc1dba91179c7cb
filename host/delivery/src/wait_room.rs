//! Counts of deliveries that wait in memory, and the list of remotes that have room for more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A bounded count.
#[derive(Default)]
pub(super) struct WaitCount(AtomicUsize);

impl WaitCount {
    /// Counts a delivery until the entry is dropped; `None` if `max` deliveries are counted already.
    pub(super) fn enter(self: &Arc<Self>, max: usize) -> Option<WaitEntry> {
        let entered = self.0.try_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < max).then_some(count + 1)
        });
        entered.ok().map(|_| WaitEntry(Arc::clone(self)))
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counted delivery.
pub(super) struct WaitEntry(Arc<WaitCount>);

impl Drop for WaitEntry {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Remotes that have room for deliveries again.
#[derive(Default)]
pub(super) struct RoomList {
    rooms: Mutex<Vec<(Arc<str>, usize)>>,
    added: Notify,
}

impl RoomList {
    pub(super) fn push(&self, name: Arc<str>, room: usize) {
        self.rooms.lock().push((name, room));
        self.added.notify_one();
    }

    /// Waits for an entry and removes the entry. Cancel safe. Supports a single waiter.
    pub(super) async fn next(&self) -> (Arc<str>, usize) {
        loop {
            if let Some(room) = self.rooms.lock().pop() {
                return room;
            }
            self.added.notified().await;
        }
    }
}
