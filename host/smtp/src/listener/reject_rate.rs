//! A rate limit of refusals while there is no room (fixed window).
//!
//! A refusal costs a connection, a line and a close: some tens of microseconds that the accepted sessions lose. Beyond
//! the limit new clients stay in the kernel's bounded backlog, at next to no cost, until there is room or the next
//! window. At twice its load a host accepts 0.9 of its peak with 500 refusals a second and 0.8 with 2,000
//! (`tests/bench/RESULTS.md`, Overload).

use std::time::Duration;

use tokio::time::Instant;

/// Length of a window.
const WINDOW: Duration = Duration::from_millis(10);
/// Maximum number of refusals in a window: 500 a second.
const MAX_IN_WINDOW: u32 = 5;

/// The refusals of a listener.
pub(super) struct RejectRate {
    began: Instant,
    count: u32,
}

impl RejectRate {
    /// Starts an empty window.
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, count: 0 }
    }

    /// Counts a refusal.
    pub(super) fn count(&mut self, now: Instant) {
        if now >= self.began + WINDOW {
            *self = Self::new(now);
        }
        self.count += 1;
    }

    /// Returns the end of the window if no more refusals are allowed in the window.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        let end = self.began + WINDOW;
        (self.count >= MAX_IN_WINDOW && now < end).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_after_the_maximum_until_the_window_ends() {
        let start = Instant::now();
        let mut rate = RejectRate::new(start);
        for _ in 1..MAX_IN_WINDOW {
            rate.count(start);
        }
        assert_eq!(rate.paused_until(start), None);
        rate.count(start);
        assert_eq!(rate.paused_until(start), Some(start + WINDOW));
        assert_eq!(rate.paused_until(start + WINDOW), None);
        rate.count(start + WINDOW);
        assert_eq!(rate.paused_until(start + WINDOW), None);
    }
}
