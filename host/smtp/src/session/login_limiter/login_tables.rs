//! The tables of the limits on failed logins.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Time for which a successful login vouches for its network.
pub(super) const KNOWN_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// Maximum number of entries of a table. At the bound an arbitrary entry goes.
pub(super) const MAX_ENTRIES: usize = 50_000;

/// Failed and successful logins, by hashes and networks.
#[derive(Default)]
pub(super) struct LoginTables {
    pub(super) networks: HashMap<IpAddr, Failures>,
    pub(super) accounts: HashMap<u64, Failures>,
    /// End of the time for which the last success of an account vouches for a network.
    pub(super) known_pairs: HashMap<u64, Instant>,
    /// End of the time for which the last success of any account vouches for a network.
    pub(super) known_networks: HashMap<IpAddr, Instant>,
    /// True if the tables differ from the file.
    pub(super) is_changed: bool,
}

/// Failed logins within a window, or a refusal that follows.
#[derive(Clone, Copy)]
pub(super) struct Failures {
    pub(super) count: u32,
    pub(super) window_ends: Instant,
    pub(super) refused_until: Option<Instant>,
}
