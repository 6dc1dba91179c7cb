//! Numbers of messages in each state.

use serde::Serialize;

/// Numbers of messages in each state. Claimed messages count in their state, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// Messages to be delivered, the waiting and the claimed included.
    pub queued: u64,
    /// Messages to be notified as failed, the claimed included.
    pub failing: u64,
    /// Messages that a policy keeps apart for the operator.
    pub quarantined: u64,
    /// Messages that stay untouched until an operator's release.
    pub frozen: u64,
    /// Records that could not be read.
    pub set_aside: u64,
    /// Messages that hold a lease: claimed, or being released or deleted.
    pub claimed: u64,
    /// Messages that wait for an unreachable destination, see [`crate::Claim::wait_for`].
    pub waiting: u64,
}
