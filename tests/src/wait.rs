//! Waiting for something to become true.

use std::time::{Duration, Instant};

/// How long a test waits for anything before it fails with what it saw. Generous: it is only ever
/// used up by a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks.
const STEP: Duration = Duration::from_millis(20);

/// Looks until `look` returns something; after [`PATIENCE`] panics with `what`.
///
/// # Panics
/// When nothing came in time.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(STEP);
    }
}
