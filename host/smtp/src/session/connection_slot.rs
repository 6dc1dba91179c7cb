//! The slot of a session: reports idle time to the connection limiter and receives evictions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Value of `since` while the host is at work and the session does not wait for the peer.
const AT_WORK: u64 = u64::MAX;

/// A session's slot, shared by the session and the connection limiter.
#[derive(Debug)]
pub struct ConnectionSlot {
    taken: Instant,
    /// Start of the wait for the peer, in milliseconds since `taken`; [`AT_WORK`] while the host is at work.
    since: AtomicU64,
    evict: Notify,
}

/// Marks the session as waiting for the peer until dropped.
pub struct WaitingGuard<'a>(&'a ConnectionSlot);

impl Default for ConnectionSlot {
    /// Creates a slot taken now, with the host at work.
    fn default() -> Self {
        Self {
            taken: Instant::now(),
            since: AtomicU64::new(AT_WORK),
            evict: Notify::new(),
        }
    }
}

impl ConnectionSlot {
    /// Returns the time for which the peer has owed a whole command or the next part of a message; `None` while the
    /// host is at work. Single octets do not reset the time, so that slow clients count as idle.
    pub fn idle(&self) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed);
        (since != AT_WORK).then(|| self.taken.elapsed().saturating_sub(Duration::from_millis(since)))
    }

    /// Tells the session to end with 421 at its next wait for the peer.
    pub fn evict(&self) {
        self.evict.notify_one();
    }

    /// Returns when the slot is evicted. An eviction before the call is not lost. Cancel safe.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }

    /// Starts a wait for the peer.
    pub(super) fn wait(&self) -> WaitingGuard<'_> {
        let waiting = WaitingGuard(self);
        waiting.reset_idle();
        waiting
    }
}

impl WaitingGuard<'_> {
    /// Restarts the idle time: the peer made progress and owes more.
    pub(super) fn reset_idle(&self) {
        let now = u64::try_from(self.0.taken.elapsed().as_millis()).unwrap_or(AT_WORK - 1);
        self.0.since.store(now, Ordering::Relaxed);
    }
}

impl Drop for WaitingGuard<'_> {
    fn drop(&mut self) {
        self.0.since.store(AT_WORK, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_idle_only_while_waiting_and_keeps_an_early_eviction() {
        let slot = ConnectionSlot::default();
        assert_eq!(slot.idle(), None);
        let waiting = slot.wait();
        assert!(slot.idle().is_some());
        waiting.reset_idle();
        drop(waiting);
        assert_eq!(slot.idle(), None, "the host is at work");
        slot.evict();
        slot.evicted().await;
    }
}
