//! The error with which the daemon ends.

use host_config::Problem;

/// Problems for which the host did not start or had to stop. Events have reported each problem already.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct StartFailed {
    /// Problems, at least one.
    pub problems: Vec<Problem>,
    /// True if the host had started and a part failed (Event 5032).
    pub had_started: bool,
}

impl StartFailed {
    /// Creates the error of a start.
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self {
            problems,
            had_started: false,
        }
    }

    /// Creates the error of a part that failed while the host ran.
    pub(super) fn of_part(part: &str, error: &str) -> Self {
        Self {
            problems: vec![Problem::new(part, error)],
            had_started: true,
        }
    }
}
