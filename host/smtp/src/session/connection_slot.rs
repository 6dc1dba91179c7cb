//! What a session tells of its waiting, and how it is told to make way for another client.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Stands for a session that waits for nobody: the host itself is at work.
const AT_WORK: u64 = u64::MAX;

/// One session's place among all. Shared by the session and whoever gave it the place.
#[derive(Debug)]
pub struct ConnectionSlot {
    taken: Instant,
    /// Since when the peer owes something, in milliseconds since `taken`; or [`AT_WORK`].
    since: AtomicU64,
    evict: Notify,
}

/// The peer owes something for as long as this lives.
pub(super) struct WaitingGuard<'a>(&'a ConnectionSlot);

impl Default for ConnectionSlot {
    /// Taken now; the host is at work.
    fn default() -> Self {
        Self {
            taken: Instant::now(),
            since: AtomicU64::new(AT_WORK),
            evict: Notify::new(),
        }
    }
}

impl ConnectionSlot {
    /// How long the peer has owed a whole command, or the next part of a message; none while the
    /// host is at work. Octets that drip in do not count: that is how a slow client is known.
    pub fn idle(&self) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed);
        (since != AT_WORK).then(|| self.taken.elapsed().saturating_sub(Duration::from_millis(since)))
    }

    /// Tells the session to end with 421 where it stands.
    pub fn tell_to_make_way(&self) {
        self.evict.notify_one();
    }

    /// Returns when it was told.
    pub(super) async fn told_to_make_way(&self) {
        self.evict.notified().await;
    }

    /// From here on the peer owes something.
    pub(super) fn wait(&self) -> WaitingGuard<'_> {
        let waiting = WaitingGuard(self);
        waiting.reset_idle();
        waiting
    }
}

impl WaitingGuard<'_> {
    /// The peer gave what it owed, and owes more.
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
    async fn a_place_knows_whether_its_session_waits() {
        let place = ConnectionSlot::default();
        assert_eq!(place.idle(), None);
        let waiting = place.wait();
        assert!(place.idle().is_some());
        waiting.reset_idle();
        drop(waiting);
        assert_eq!(place.idle(), None, "the host is at work");
        place.tell_to_make_way();
        // Told before it looked: it is not lost.
        place.told_to_make_way().await;
    }
}
