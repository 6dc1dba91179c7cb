//! Polling with a deadline.

use std::time::{Duration, Instant};

/// Default deadline of a test's wait. Only a failing test waits so long, and a machine may be as busy as it likes.
pub const TIMEOUT: Duration = Duration::from_secs(300);

/// Interval between two polls.
const STEP: Duration = Duration::from_millis(20);

/// Polls `look` until a value is returned, and returns the value.
///
/// # Panics
/// If `look` returned no value within [`TIMEOUT`]; the message contains `what`.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {TIMEOUT:?} in vain for {what}");
        std::thread::sleep(STEP);
    }
}
