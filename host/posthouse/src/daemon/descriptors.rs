//! Sessions cost file descriptors: the process asks for as many as it may have, and takes no more
//! sessions than it has them for. Running out would hit the spool as well as the sockets.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use host_config::Config;
use host_events::{Event, Events};
use host_smtp::listener::BEHIND_PROXIES;

/// A session's connection, and the file of a large message on it.
const OF_A_SESSION: u64 = 2;
/// A delivery's connection, and the file of what it delivers.
const OF_A_DELIVERY: u64 = 2;
/// The store's tables and journals, listeners, logs, policies, and whoever is being told 421.
const OF_THE_HOST: u64 = 640;
/// With fewer a host is none.
const FEWEST_SESSIONS: u64 = 16;

/// Raises the limit to the highest that is allowed. Returns how many sessions there may be; tells the
/// operator (5066) if that is less than configured.
pub(super) fn sessions(config: &Config, events: &Events) -> usize {
    let wanted = config.limits.sessions;
    let Some(descriptors) = raise() else {
        return wanted;
    };
    let behind_proxies = config.listeners.iter().filter(|listener| !listener.proxies.is_empty());
    let others = OF_THE_HOST
        + OF_A_DELIVERY * config.delivery.concurrency as u64
        + (BEHIND_PROXIES * behind_proxies.count()) as u64;
    let needed = others + OF_A_SESSION * wanted as u64;
    if needed <= descriptors {
        return wanted;
    }
    let sessions = (descriptors.saturating_sub(others) / OF_A_SESSION).max(FEWEST_SESSIONS);
    let sessions = sessions.min(wanted as u64);
    events.emit(Event::FewDescriptors {
        descriptors,
        needed,
        sessions,
    });
    usize::try_from(sessions).unwrap_or(wanted)
}

/// The limit in force; none is no limit.
fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // As before, then.
        Err(_) => limit.current,
    }
}
