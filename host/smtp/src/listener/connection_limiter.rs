//! The limit of concurrent connections, in all and by client. When all slots are taken, an idle session is evicted.

mod slot_table;

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::session::ConnectionSlot;
use host_config::OverloadConfig;
use host_events::{Event, Events};

use crate::listener::connection_limiter::slot_table::SlotTable;

/// Maximum number of evicted sessions that have not ended yet; no further session is evicted at this number.
const MAX_EVICTING: usize = 64;

/// Time without a client that found all slots taken, after which the full period ends. A slot that is free for a moment
/// within an overload emits no event.
const FULL_PERIOD_GRACE: Duration = Duration::from_secs(5);
/// Interval at which the end of a full period is looked for.
const FULL_PERIOD_CHECK: Duration = Duration::from_millis(500);

/// Limit of concurrent sessions, in all and by client address; shared by all listeners.
#[derive(Clone)]
pub struct ConnectionLimiter {
    inner: Arc<SharedLimiter>,
}

/// Reason for which a client gets no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSlot {
    /// Client has the maximum number of connections.
    TooMany,
    /// Every slot is taken, and no session was idle for long enough to be evicted.
    Full,
}

struct SharedLimiter {
    sessions: usize,
    per_client: usize,
    /// Idle time after which a session may be evicted.
    min_idle: Duration,
    events: Events,
    state: Mutex<LimiterState>,
    /// Notified when a session ends.
    freed: Notify,
}

#[derive(Default)]
struct LimiterState {
    slot_table: SlotTable,
    /// Number of evicted sessions that have not ended yet.
    evicting: usize,
    by_client: HashMap<IpAddr, usize>,
    /// Current period in which all slots are taken.
    full: Option<FullPeriod>,
}

/// A period in which all slots are taken.
struct FullPeriod {
    /// Time at which a client last found all slots taken.
    last: Instant,
    refused: u64,
    evicted: u64,
}

/// An admitted session. Dropping the value frees the slot.
pub struct Admitted {
    inner: Arc<SharedLimiter>,
    client: IpAddr,
    key: u64,
    /// Slot of the session.
    pub slot: Arc<ConnectionSlot>,
}

impl ConnectionLimiter {
    /// Creates a limiter without sessions. `sessions` is the maximum in all, `per_client` the maximum of a client
    /// address.
    pub fn new(sessions: usize, per_client: usize, overload: &OverloadConfig, events: Events) -> Self {
        Self {
            inner: Arc::new(SharedLimiter {
                sessions,
                per_client,
                min_idle: overload.make_way,
                events,
                state: Mutex::default(),
                freed: Notify::new(),
            }),
        }
    }

    /// Number of sessions, including evicted sessions that have not ended yet.
    pub fn active(&self) -> usize {
        let state = self.inner.state.lock();
        state.slot_table.len() + state.evicting
    }

    /// Maximum number of sessions.
    pub fn sessions(&self) -> usize {
        self.inner.sessions
    }

    /// Descriptions of current problems, for the operator.
    pub fn troubles(&self) -> Vec<String> {
        let full = self.inner.state.lock().full.is_some();
        let full = full.then(|| format!("all {} places for connections were taken", self.inner.sessions));
        full.into_iter().collect()
    }

    /// Emits the event at the end of a full period. Never returns.
    pub async fn watch(self) {
        loop {
            tokio::time::sleep(FULL_PERIOD_CHECK).await;
            self.inner.end_full_period(Instant::now());
        }
    }

    /// Waits until a slot is free without an eviction. Cancel safe.
    pub async fn wait_for_room(&self) {
        loop {
            let mut freed = pin!(self.inner.freed.notified());
            freed.as_mut().enable();
            if self.inner.has_room() {
                return;
            }
            freed.await;
        }
    }

    /// Admits a session of the client, if a slot is free or an idle session can be evicted.
    pub fn admit(&self, client: IpAddr) -> Result<Admitted, NoSlot> {
        let inner = &self.inner;
        let mut state = inner.state.lock();
        let of_client = state.by_client.get(&client).copied().unwrap_or(0);
        if of_client >= inner.per_client {
            return Err(NoSlot::TooMany);
        }
        if state.slot_table.len() >= inner.sessions && !inner.evict(&mut state) {
            return Err(NoSlot::Full);
        }
        state.by_client.insert(client, of_client + 1);
        let slot = Arc::<ConnectionSlot>::default();
        Ok(Admitted {
            inner: Arc::clone(inner),
            client,
            key: state.slot_table.add(Arc::clone(&slot)),
            slot,
        })
    }
}

impl SharedLimiter {
    fn has_room(&self) -> bool {
        self.state.lock().slot_table.len() < self.sessions
    }

    /// Ends the full period, with an event, if no client has found all slots taken for [`FULL_PERIOD_GRACE`].
    fn end_full_period(&self, now: Instant) {
        let is_over = |full: &mut FullPeriod| now.duration_since(full.last) >= FULL_PERIOD_GRACE;
        if let Some(FullPeriod { refused, evicted, .. }) = self.state.lock().full.take_if(is_over) {
            self.events.emit(Event::SessionsEnough {
                refused,
                made_way: evicted,
            });
        }
    }

    /// Evicts the session that has been idle for longest. False, with a refusal counted, if no session has been idle
    /// for long enough.
    fn evict(&self, state: &mut LimiterState) -> bool {
        if state.full.is_none() {
            let limit = self.sessions as u64;
            self.events.emit(Event::SessionsFull { limit });
        }
        let now = Instant::now();
        let full = state.full.get_or_insert(FullPeriod {
            last: now,
            refused: 0,
            evicted: 0,
        });
        full.last = now;
        let idlest = match state.evicting < MAX_EVICTING {
            true => state.slot_table.take_idlest(self.min_idle, now),
            false => None,
        };
        let Some(slot) = idlest else {
            full.refused += 1;
            return false;
        };
        full.evicted += 1;
        state.evicting += 1;
        slot.evict();
        true
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        if !state.slot_table.remove(self.key) {
            state.evicting = state.evicting.saturating_sub(1);
        }
        match state.by_client.get_mut(&self.client) {
            Some(of_client) if *of_client > 1 => *of_client -= 1,
            _ => {
                state.by_client.remove(&self.client);
            }
        }
        drop(state);
        self.inner.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn connections(sessions: usize, per_client: usize) -> (ConnectionLimiter, host_events::Captured) {
        let (events, captured) = Events::capture();
        (
            ConnectionLimiter::new(sessions, per_client, &OverloadConfig::default(), events),
            captured,
        )
    }

    #[test]
    fn limits_sessions_in_all_and_by_client() {
        let (connections, captured) = connections(3, 2);
        let first = connections.admit(client(1)).expect("first");
        let second = connections.admit(client(1)).expect("second");
        assert_eq!(
            connections.admit(client(1)).err(),
            Some(NoSlot::TooMany),
            "a third of one client"
        );
        assert!(captured.ids().is_empty());
        let other = connections.admit(client(2)).expect("another client");
        for _ in 0..3 {
            assert_eq!(
                connections.admit(client(3)).err(),
                Some(NoSlot::Full),
                "a fourth in all"
            );
        }
        assert_eq!(connections.active(), 3);
        assert_eq!(captured.ids(), [5060], "once");
        assert_eq!(connections.troubles().len(), 1);
        drop(first);
        assert!(connections.admit(client(1)).is_ok());
        drop((second, other));
        assert_eq!(connections.active(), 0);
        assert!(connections.inner.state.lock().by_client.is_empty());
        connections.inner.end_full_period(Instant::now());
        assert_eq!(captured.ids(), [5060], "a moment later all may be taken again");
        connections.inner.end_full_period(Instant::now() + FULL_PERIOD_GRACE);
        assert_eq!(captured.ids(), [5060, 5061]);
        let last = captured.events().pop();
        assert!(matches!(
            last,
            Some(Event::SessionsEnough {
                refused: 3,
                made_way: 0
            })
        ));
        assert!(connections.troubles().is_empty());
    }
}
