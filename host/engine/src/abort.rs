//! Reasons for which the host ends a guest's call.

use std::time::Duration;

/// Error by which the epoch callback or a host function ends the guest.
#[derive(Debug, thiserror::Error)]
pub(super) enum Abort {
    /// Guest CPU reached `limits.cpu`, see [`CpuLimit`](crate::limits::CpuLimit).
    #[error("more than {} ms of guest CPU in one call", .0.as_millis())]
    Cpu(Duration),
    /// Calls to the host exceeded `limits.host-calls`.
    #[error("more than {0} calls to the host in one unit of work")]
    HostCalls(u64),
    /// A host function failed.
    #[error("{0}")]
    Host(String),
}
