//! File descriptors: raises the process limit and bounds sessions and connections to other hosts by the result. A process without free
//! descriptors could not open spool files either.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use host_config::Config;
use host_events::{Event, Events};
use host_smtp::listener::BEHIND_PROXIES;

/// Descriptors of a session: the connection, and the file of a large message.
const PER_SESSION: u64 = 2;
/// Descriptors of a connection to another host: the connection, and the file of the message.
const PER_CONNECTION: u64 = 2;
/// Part of the descriptors that connections to other hosts may take, as a divisor.
const CONNECTIONS_PART: u64 = 4;
/// Descriptors of the host itself: tables and journals of the store, listeners, logs, policies, and connections that
/// are being rejected with 421.
const RESERVED: u64 = 640;
/// Minimum number of sessions, even if descriptors are too few.
const MIN_SESSIONS: u64 = 16;

/// Shares of the file descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DescriptorShares {
    /// Maximum number of sessions: the configured limit, or fewer.
    pub(super) sessions: usize,
    /// Maximum number of connections to other hosts: the configured limit, or fewer, but at least
    /// `delivery.concurrency`.
    pub(super) connections: usize,
}

/// Raises the soft limit of file descriptors to the hard limit, and shares the descriptors out. Emits Event 5066 if the
/// number of sessions is below the configured limit.
pub(super) fn share(config: &Config, events: &Events) -> DescriptorShares {
    let Some(descriptors) = raise_limit() else {
        return DescriptorShares {
            sessions: config.limits.sessions,
            connections: config.delivery.connections,
        };
    };
    let connections = descriptors.saturating_sub(RESERVED) / CONNECTIONS_PART / PER_CONNECTION;
    let connections = usize::try_from(connections)
        .unwrap_or(usize::MAX)
        .max(config.delivery.concurrency)
        .min(config.delivery.connections);
    DescriptorShares {
        sessions: sessions(config, events, descriptors, connections as u64),
        connections,
    }
}

fn sessions(config: &Config, events: &Events, descriptors: u64, connections: u64) -> usize {
    let configured = config.limits.sessions;
    let behind_proxies = config.listeners.iter().filter(|listener| !listener.proxies.is_empty());
    let others = RESERVED + PER_CONNECTION * connections + (BEHIND_PROXIES * behind_proxies.count()) as u64;
    let needed = others + PER_SESSION * configured as u64;
    if needed <= descriptors {
        return configured;
    }
    let sessions = (descriptors.saturating_sub(others) / PER_SESSION).max(MIN_SESSIONS);
    let sessions = sessions.min(configured as u64);
    events.emit(Event::FewDescriptors {
        descriptors,
        needed,
        sessions,
    });
    usize::try_from(sessions).unwrap_or(configured)
}

/// Raises the limit and returns the limit in force; `None` is no limit.
fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // The limit could not be raised and stays as it was.
        Err(_) => limit.current,
    }
}
