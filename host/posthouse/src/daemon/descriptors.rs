//! File descriptors: raises the process limit and bounds the number of sessions by the result. A process without free
//! descriptors could not open spool files either.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use host_config::Config;
use host_events::{Event, Events};
use host_smtp::listener::BEHIND_PROXIES;

/// Descriptors of a session: the connection, and the file of a large message.
const PER_SESSION: u64 = 2;
/// Descriptors of a delivery: the connection, and the file of the message.
const PER_DELIVERY: u64 = 2;
/// Descriptors of the host itself: tables and journals of the store, listeners, logs, policies, and connections that
/// are being rejected with 421.
const RESERVED: u64 = 640;
/// Minimum number of sessions, even if descriptors are too few.
const MIN_SESSIONS: u64 = 16;

/// Raises the soft limit of file descriptors to the hard limit, and returns the maximum number of sessions. Emits Event
/// 5066 if that number is below the configured limit.
pub(super) fn sessions(config: &Config, events: &Events) -> usize {
    let configured = config.limits.sessions;
    let Some(descriptors) = raise_limit() else {
        return configured;
    };
    let behind_proxies = config.listeners.iter().filter(|listener| !listener.proxies.is_empty());
    let others =
        RESERVED + PER_DELIVERY * config.delivery.concurrency as u64 + (BEHIND_PROXIES * behind_proxies.count()) as u64;
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
