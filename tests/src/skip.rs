//! Skipped tests: allowed on a machine without some tool, failures where every tool is installed.

use std::fmt::Display;

/// Prints that a test is skipped, and why. Fails the test if `POSTHOUSE_NO_SKIPS` is set, as in `.ci/run`.
///
/// # Panics
/// If `POSTHOUSE_NO_SKIPS` is set.
pub fn skipped(why: impl Display) {
    eprintln!("SKIPPED: {why}");
    assert!(
        std::env::var_os("POSTHOUSE_NO_SKIPS").is_none(),
        "a test was skipped though POSTHOUSE_NO_SKIPS is set: {why}"
    );
}
