//! Scheduler latency: the delay with which the host's own tasks run. A sign of overload that is independent of the
//! speed of the machine.
//!
//! A probe task sleeps and measures how late the wake-up is, in place of all sessions that are ready and wait for a
//! processor. A probe that is late for a whole second means a standing queue, not a burst (the distinction of CoDel,
//! RFC 8289): each further session would slow down all sessions.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use host_events::{Event, Events};

/// Interval of the measurements.
const TICK: Duration = Duration::from_millis(100);
/// Number of consecutive late measurements that mean overload.
const MIN_LATE: u32 = 10;

/// Latency of the host's tasks, and the resulting overload.
pub(super) struct SchedulerLatency {
    limit: Duration,
    /// Latest measurement, in milliseconds.
    latency_ms: AtomicU64,
    pub(super) overloaded: AtomicBool,
    /// Number of connections refused during the overload.
    pub(super) refused: AtomicU64,
}

impl SchedulerLatency {
    /// Creates the measurement. `limit` is the latency that counts as late.
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            latency_ms: AtomicU64::new(0),
            overloaded: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        }
    }

    /// True while there is a standing queue.
    pub(super) fn is_overloaded(&self) -> bool {
        self.overloaded.load(Ordering::Relaxed)
    }

    /// Latest measurement.
    pub(super) fn latest(&self) -> Duration {
        Duration::from_millis(self.latency_ms.load(Ordering::Relaxed))
    }

    /// Measures every [`TICK`] and emits an event when the overload begins or ends. Calls `sessions` after each
    /// measurement. Never returns.
    pub(super) async fn watch(&self, events: &Events, sessions: impl Fn() -> u64) {
        let mut detector = OverloadDetector::default();
        loop {
            let due = Instant::now() + TICK;
            tokio::time::sleep_until(due).await;
            let latency = due.elapsed();
            let lag_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
            self.latency_ms.store(lag_ms, Ordering::Relaxed);
            let sessions = sessions();
            let was = detector.overloaded;
            detector.observe(latency, self.limit);
            self.overloaded.store(detector.overloaded, Ordering::Relaxed);
            match (was, detector.overloaded) {
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
    consecutive_late: u32,
    overloaded: bool,
}

impl OverloadDetector {
    /// Adds a measurement. Hysteresis: an overload begins after [`MIN_LATE`] late measurements and ends below half of
    /// the limit.
    fn observe(&mut self, latency: Duration, limit: Duration) {
        self.consecutive_late = if latency >= limit { self.consecutive_late + 1 } else { 0 };
        self.overloaded = match self.overloaded {
            true => latency >= limit / 2,
            false => self.consecutive_late >= MIN_LATE,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overload_begins_after_ten_late_measurements_and_ends_below_half_the_limit() {
        let limit = Duration::from_millis(100);
        let mut detector = OverloadDetector::default();
        let mut observe = |ms| {
            detector.observe(Duration::from_millis(ms), limit);
            detector.overloaded
        };
        for _ in 1..MIN_LATE {
            assert!(!observe(5000));
        }
        assert!(!observe(99), "a burst");
        for _ in 1..MIN_LATE {
            assert!(!observe(100));
        }
        assert!(observe(100));
        assert!(observe(50));
        assert!(!observe(49));
        assert!(!observe(5000), "the count starts again");
    }
}
