//! How late this host's own tasks run: the one sign of having too much to do that does not ask how
//! fast the machine is.
//!
//! A task that sleeps for a moment and wakes late stands for all the sessions that have something
//! to do and wait for a processor. When it is late every time for a second there is a standing queue
//! (as CoDel tells one from a burst, RFC 8289), and each further session makes all of them slower.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use host_events::{Event, Events};

/// How often it is looked.
const TICK: Duration = Duration::from_millis(100);
/// So many times in a row it must be late.
const IN_A_ROW: u32 = 10;

pub(super) struct SchedulerLatency {
    bound: Duration,
    /// In milliseconds.
    late: AtomicU64,
    pub(super) behind: AtomicBool,
    /// Connections refused because of it.
    pub(super) refused: AtomicU64,
}

impl SchedulerLatency {
    pub(super) fn new(bound: Duration) -> Self {
        Self {
            bound,
            late: AtomicU64::new(0),
            behind: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        }
    }

    /// There is a standing queue.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    /// When last looked.
    pub(super) fn now(&self) -> Duration {
        Duration::from_millis(self.late.load(Ordering::Relaxed))
    }

    pub(super) async fn watch(&self, events: &Events, sessions: impl Fn() -> u64) {
        let mut judge = OverloadDetector::default();
        loop {
            let due = Instant::now() + TICK;
            tokio::time::sleep_until(due).await;
            let late = due.elapsed();
            let lag_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
            self.late.store(lag_ms, Ordering::Relaxed);
            let sessions = sessions();
            let was = judge.behind;
            judge.observe(late, self.bound);
            self.behind.store(judge.behind, Ordering::Relaxed);
            match (was, judge.behind) {
                (false, true) => {
                    events.emit(Event::FellBehind { lag_ms, sessions });
                }
                (true, false) => {
                    let refused = self.refused.swap(0, Ordering::Relaxed);
                    events.emit(Event::CaughtUp { refused });
                }
                _ => {}
            }
        }
    }
}

#[derive(Debug, Default)]
struct OverloadDetector {
    in_a_row: u32,
    behind: bool,
}

impl OverloadDetector {
    /// Ends well below where it begins, so that it does not begin again at once.
    fn observe(&mut self, late: Duration, bound: Duration) {
        self.in_a_row = if late >= bound { self.in_a_row + 1 } else { 0 };
        self.behind = match self.behind {
            true => late >= bound / 2,
            false => self.in_a_row >= IN_A_ROW,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_no_queue_and_a_queue_ends_below_where_it_began() {
        let bound = Duration::from_millis(100);
        let mut judge = OverloadDetector::default();
        let mut observe = |ms| {
            judge.observe(Duration::from_millis(ms), bound);
            judge.behind
        };
        for _ in 1..IN_A_ROW {
            assert!(!observe(5000));
        }
        assert!(!observe(99), "once in time: it was a burst");
        for _ in 1..IN_A_ROW {
            assert!(!observe(100));
        }
        assert!(observe(100));
        assert!(observe(50));
        assert!(!observe(49));
        assert!(!observe(5000), "it takes as long again");
    }
}
