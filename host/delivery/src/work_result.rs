//! Result of the work on a message.

use tokio::sync::watch;

use host_mail::Reply;
use host_spool::Failed;

/// Result of the work on a message. Deliveries are recorded at once, so that a later fault does not lose a delivery.
#[derive(Debug, Default)]
pub(super) struct WorkResult {
    /// Recipients to notify about: index into the record's recipients, and the failure.
    pub(super) failed: Vec<(usize, Failed)>,
    /// Recipients to retry.
    pub(super) deferred: Vec<Deferred>,
    /// True if the work was stopped early. Recipients without an outcome are unchanged.
    pub(super) interrupted: bool,
    /// True if the work counts as an attempt.
    pub(super) attempted: bool,
}

/// A recipient whose delivery is deferred.
#[derive(Debug)]
pub(super) struct Deferred {
    /// Index into the record's recipients.
    pub(super) recipient: usize,
    pub(super) destination: String,
    pub(super) reply: Reply,
    /// Reason for which no attempt was made; `None` after an attempt.
    pub(super) untried: Option<Untried>,
    /// Names of the remotes of which any may have room; empty after an attempt.
    pub(super) waits_for: Vec<String>,
}

/// Reason for which a destination was not attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Untried {
    /// The destination is known to be down.
    Down,
    /// Enough deliveries wait for a connection to the destination.
    Crowded,
    /// The next hop has not asked for its mail (RFC 1985).
    Held,
}

impl WorkResult {
    /// The remotes to wait for, each once, if every recipient without an outcome was not attempted. Otherwise the
    /// list is empty.
    pub(super) fn waits_for(&self) -> Vec<&str> {
        let none_attempted =
            self.failed.is_empty() && !self.interrupted && self.deferred.iter().all(|each| each.untried.is_some());
        let mut destinations: Vec<&str> = Vec::new();
        for each in self.deferred.iter().filter(|_| none_attempted) {
            for name in &each.waits_for {
                if !destinations.contains(&name.as_str()) {
                    destinations.push(name);
                }
            }
        }
        destinations
    }

    /// True if no destination is known to be down.
    pub(super) fn is_only_crowded(&self) -> bool {
        self.deferred.iter().all(|each| each.untried == Some(Untried::Crowded))
    }
}

/// Returns once the value is true. Never returns if the sender is dropped before. Cancel safe.
pub(super) async fn wait_until_true(signal: &mut watch::Receiver<bool>) {
    if signal.wait_for(|on| *on).await.is_err() {
        std::future::pending().await
    }
}
