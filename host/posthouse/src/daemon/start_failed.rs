//! The error with which the daemon ends.

use host_config::Problem;

/// Problems for which the host did not start or had to stop. Events have reported each problem already.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct StartFailed(pub Vec<Problem>);
