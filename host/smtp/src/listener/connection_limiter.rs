//! Who gets a place: so many sessions in all and by client, and who makes way when all are taken.

mod slot_table;

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::listener::scheduler_latency::SchedulerLatency;
use crate::session::ConnectionSlot;
use host_config::OverloadConfig;
use host_events::{Event, Events};

use crate::listener::connection_limiter::slot_table::SlotTable;

/// So many sessions are let in however late everything is: that a machine is slow for another
/// reason must not keep all mail out.
const ALWAYS: usize = 100;
/// Sessions that were told to make way and have not ended yet; beyond them nobody else is told.
const LEAVING: usize = 64;

/// There are places again when nobody has found them all taken for so long: within an overload one that
/// comes free is nothing to tell.
const CALM: Duration = Duration::from_secs(5);

/// Sessions at once, in all and by client address; shared by all listeners.
#[derive(Clone)]
pub struct ConnectionLimiter {
    inner: Arc<Shared>,
}

/// Why a client gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSlot {
    /// It has as many as one client may have.
    TooMany,
    /// All are taken, and nobody was idle for long enough to make way.
    Full,
    /// The host is behind with what it has.
    Behind,
}

struct Shared {
    sessions: usize,
    per_client: usize,
    evict: Duration,
    events: Events,
    lag: SchedulerLatency,
    state: Mutex<Slots>,
    /// A place came free.
    freed: Notify,
}

#[derive(Default)]
struct Slots {
    slot_table: SlotTable,
    /// Told to make way, and still there.
    leaving: usize,
    by_client: HashMap<IpAddr, usize>,
    /// Since all places were taken.
    full: Option<FullPeriod>,
}

/// What happened while all places were taken.
struct FullPeriod {
    /// When somebody last found them so.
    last: Instant,
    refused: u64,
    made_way: u64,
}

/// One session's place; dropping it gives it back.
pub struct Admitted {
    inner: Arc<Shared>,
    client: IpAddr,
    key: u64,
    /// For the session.
    pub place: Arc<ConnectionSlot>,
}

impl ConnectionLimiter {
    /// No sessions yet.
    pub fn new(sessions: usize, per_client: usize, overload: &OverloadConfig, events: Events) -> Self {
        Self {
            inner: Arc::new(Shared {
                sessions,
                per_client,
                evict: overload.make_way,
                lag: SchedulerLatency::new(overload.lag),
                events,
                state: Mutex::default(),
                freed: Notify::new(),
            }),
        }
    }

    /// Sessions now.
    pub fn active(&self) -> usize {
        let state = self.inner.state();
        state.slot_table.len() + state.leaving
    }

    /// Sessions at once.
    pub fn sessions(&self) -> usize {
        self.inner.sessions
    }

    /// What an operator should know of, in words.
    pub fn troubles(&self) -> Vec<String> {
        let full = self.inner.state().full.is_some();
        let full = full.then(|| format!("all {} places for connections were taken", self.inner.sessions));
        let behind = self.inner.lag.is_behind();
        let behind = behind.then(|| format!("tasks run {} ms late", self.inner.lag.now().as_millis()));
        full.into_iter().chain(behind).collect()
    }

    /// Sees to it that a host that is behind takes no more than it has, and that an end of overload is
    /// told. Never returns.
    pub async fn watch(self) {
        let sessions = || {
            self.inner.calm(Instant::now());
            self.active() as u64
        };
        self.inner.lag.watch(&self.inner.events, sessions).await;
    }

    /// Waits until there is room without anybody making way.
    pub async fn room(&self) {
        loop {
            let mut freed = pin!(self.inner.freed.notified());
            freed.as_mut().enable();
            if self.inner.has_room() {
                return;
            }
            freed.await;
        }
    }

    /// A place for a session of this client, if there is one.
    pub fn admit(&self, client: IpAddr) -> Result<Admitted, NoSlot> {
        let inner = &self.inner;
        let mut state = inner.state();
        let of_client = state.by_client.get(&client).copied().unwrap_or(0);
        if of_client >= inner.per_client {
            return Err(NoSlot::TooMany);
        }
        if inner.is_behind(&state) {
            inner.lag.refused.fetch_add(1, Ordering::Relaxed);
            return Err(NoSlot::Behind);
        }
        if state.slot_table.len() >= inner.sessions && !inner.evict(&mut state) {
            return Err(NoSlot::Full);
        }
        state.by_client.insert(client, of_client + 1);
        let place = Arc::<ConnectionSlot>::default();
        Ok(Admitted {
            inner: Arc::clone(inner),
            client,
            key: state.slot_table.add(Arc::clone(&place)),
            place,
        })
    }
}

impl Shared {
    /// Nothing that holds the lock can panic half-way; a poisoned lock is as good as any.
    fn state(&self) -> MutexGuard<'_, Slots> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_behind(&self, state: &Slots) -> bool {
        self.lag.is_behind() && state.slot_table.len() >= ALWAYS
    }

    fn has_room(&self) -> bool {
        let state = self.state();
        state.slot_table.len() < self.sessions && !self.is_behind(&state)
    }

    /// Tells the operator if there are places again.
    fn calm(&self, now: Instant) {
        let is_over = |full: &mut FullPeriod| now.duration_since(full.last) >= CALM;
        if let Some(FullPeriod { refused, made_way, .. }) = self.state().full.take_if(is_over) {
            self.events.emit(Event::SessionsEnough { refused, made_way });
        }
    }

    /// Tells whoever has been idle for longest to make way, if that is long enough.
    fn evict(&self, state: &mut Slots) -> bool {
        if state.full.is_none() {
            let limit = self.sessions as u64;
            self.events.emit(Event::SessionsFull { limit });
        }
        let now = Instant::now();
        let full = state.full.get_or_insert(FullPeriod {
            last: now,
            refused: 0,
            made_way: 0,
        });
        full.last = now;
        let idlest = match state.leaving < LEAVING {
            true => state.slot_table.take_idlest(self.evict, now),
            false => None,
        };
        let Some(place) = idlest else {
            full.refused += 1;
            return false;
        };
        full.made_way += 1;
        state.leaving += 1;
        place.tell_to_make_way();
        true
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        if !state.slot_table.remove(self.key) {
            state.leaving = state.leaving.saturating_sub(1);
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
        let (events, told) = Events::capture();
        (
            ConnectionLimiter::new(sessions, per_client, &OverloadConfig::default(), events),
            told,
        )
    }

    #[test]
    fn places_are_limited_in_all_and_by_client_and_come_back() {
        let (connections, told) = connections(3, 2);
        let first = connections.admit(client(1)).expect("first");
        let second = connections.admit(client(1)).expect("second");
        assert_eq!(
            connections.admit(client(1)).err(),
            Some(NoSlot::TooMany),
            "a third of one client"
        );
        assert!(told.ids().is_empty());
        let other = connections.admit(client(2)).expect("another client");
        for _ in 0..3 {
            assert_eq!(
                connections.admit(client(3)).err(),
                Some(NoSlot::Full),
                "a fourth in all"
            );
        }
        assert_eq!(connections.active(), 3);
        assert_eq!(told.ids(), [5060], "once");
        assert_eq!(connections.troubles().len(), 1);
        drop(first);
        assert!(connections.admit(client(1)).is_ok());
        drop((second, other));
        assert_eq!(connections.active(), 0);
        assert!(connections.inner.state().by_client.is_empty());
        connections.inner.calm(Instant::now());
        assert_eq!(told.ids(), [5060], "a moment later it may be so again");
        connections.inner.calm(Instant::now() + CALM);
        assert_eq!(told.ids(), [5060, 5061]);
        let last = told.events().pop();
        assert!(matches!(
            last,
            Some(Event::SessionsEnough {
                refused: 3,
                made_way: 0
            })
        ));
        assert!(connections.troubles().is_empty());
    }

    #[test]
    fn a_host_that_is_behind_takes_no_more_than_it_always_does() {
        let (connections, _) = connections(1000, 1000);
        let lag = &connections.inner.lag;
        lag.behind.store(true, Ordering::Relaxed);
        let held: Vec<_> = (0..ALWAYS)
            .map(|_| connections.admit(client(1)).expect("room"))
            .collect();
        assert_eq!(connections.admit(client(2)).err(), Some(NoSlot::Behind));
        lag.behind.store(false, Ordering::Relaxed);
        assert!(connections.admit(client(2)).is_ok());
        drop(held);
    }
}
