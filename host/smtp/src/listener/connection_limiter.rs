//! Who gets a place: so many sessions in all and by client, and who makes way when all are taken.

mod slot_table;

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::listener::scheduler_latency::Lag;
use crate::session::Place;
use host_config::Overload;
use host_events::{Event, Events};

use crate::listener::connection_limiter::slot_table::Places;

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
pub struct Admittance {
    inner: Arc<Inner>,
}

/// Why a client gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It has as many as one client may have.
    TooMany,
    /// All are taken, and nobody was idle for long enough to make way.
    Full,
    /// The host is behind with what it has.
    Behind,
}

struct Inner {
    sessions: usize,
    per_client: usize,
    make_way: Duration,
    events: Events,
    lag: Lag,
    state: Mutex<State>,
    /// A place came free.
    freed: Notify,
}

#[derive(Default)]
struct State {
    places: Places,
    /// Told to make way, and still there.
    leaving: usize,
    by_client: HashMap<IpAddr, usize>,
    /// Since all places were taken.
    full: Option<Full>,
}

/// What happened while all places were taken.
struct Full {
    /// When somebody last found them so.
    last: Instant,
    refused: u64,
    made_way: u64,
}

/// One session's place; dropping it gives it back.
pub struct Admitted {
    inner: Arc<Inner>,
    client: IpAddr,
    key: u64,
    /// For the session.
    pub place: Arc<Place>,
}

impl Admittance {
    /// No sessions yet.
    pub fn new(sessions: usize, per_client: usize, overload: &Overload, events: Events) -> Self {
        Self {
            inner: Arc::new(Inner {
                sessions,
                per_client,
                make_way: overload.make_way,
                lag: Lag::new(overload.lag),
                events,
                state: Mutex::default(),
                freed: Notify::new(),
            }),
        }
    }

    /// Sessions now.
    pub fn active(&self) -> usize {
        let state = self.inner.state();
        state.places.len() + state.leaving
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
    pub fn admit(&self, client: IpAddr) -> Result<Admitted, Refused> {
        let inner = &self.inner;
        let mut state = inner.state();
        let of_client = state.by_client.get(&client).copied().unwrap_or(0);
        if of_client >= inner.per_client {
            return Err(Refused::TooMany);
        }
        if inner.is_behind(&state) {
            inner.lag.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::Behind);
        }
        if state.places.len() >= inner.sessions && !inner.make_way(&mut state) {
            return Err(Refused::Full);
        }
        state.by_client.insert(client, of_client + 1);
        let place = Arc::<Place>::default();
        Ok(Admitted {
            inner: Arc::clone(inner),
            client,
            key: state.places.add(Arc::clone(&place)),
            place,
        })
    }
}

impl Inner {
    /// Nothing that holds the lock can panic half-way; a poisoned lock is as good as any.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_behind(&self, state: &State) -> bool {
        self.lag.is_behind() && state.places.len() >= ALWAYS
    }

    fn has_room(&self) -> bool {
        let state = self.state();
        state.places.len() < self.sessions && !self.is_behind(&state)
    }

    /// Tells the operator if there are places again.
    fn calm(&self, now: Instant) {
        let is_over = |full: &mut Full| now.duration_since(full.last) >= CALM;
        if let Some(Full { refused, made_way, .. }) = self.state().full.take_if(is_over) {
            self.events.emit(Event::SessionsEnough { refused, made_way });
        }
    }

    /// Tells whoever has been idle for longest to make way, if that is long enough.
    fn make_way(&self, state: &mut State) -> bool {
        if state.full.is_none() {
            let limit = self.sessions as u64;
            self.events.emit(Event::SessionsFull { limit });
        }
        let now = Instant::now();
        let full = state.full.get_or_insert(Full {
            last: now,
            refused: 0,
            made_way: 0,
        });
        full.last = now;
        let idlest = match state.leaving < LEAVING {
            true => state.places.take_idlest(self.make_way, now),
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
        if !state.places.remove(self.key) {
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

    fn admittance(sessions: usize, per_client: usize) -> (Admittance, host_events::Captured) {
        let (events, told) = Events::capture();
        (
            Admittance::new(sessions, per_client, &Overload::default(), events),
            told,
        )
    }

    #[test]
    fn places_are_limited_in_all_and_by_client_and_come_back() {
        let (admittance, told) = admittance(3, 2);
        let first = admittance.admit(client(1)).expect("first");
        let second = admittance.admit(client(1)).expect("second");
        assert_eq!(
            admittance.admit(client(1)).err(),
            Some(Refused::TooMany),
            "a third of one client"
        );
        assert!(told.ids().is_empty());
        let other = admittance.admit(client(2)).expect("another client");
        for _ in 0..3 {
            assert_eq!(
                admittance.admit(client(3)).err(),
                Some(Refused::Full),
                "a fourth in all"
            );
        }
        assert_eq!(admittance.active(), 3);
        assert_eq!(told.ids(), [5060], "once");
        assert_eq!(admittance.troubles().len(), 1);
        drop(first);
        assert!(admittance.admit(client(1)).is_ok());
        drop((second, other));
        assert_eq!(admittance.active(), 0);
        assert!(admittance.inner.state().by_client.is_empty());
        admittance.inner.calm(Instant::now());
        assert_eq!(told.ids(), [5060], "a moment later it may be so again");
        admittance.inner.calm(Instant::now() + CALM);
        assert_eq!(told.ids(), [5060, 5061]);
        let last = told.events().pop();
        assert!(matches!(
            last,
            Some(Event::SessionsEnough {
                refused: 3,
                made_way: 0
            })
        ));
        assert!(admittance.troubles().is_empty());
    }

    #[test]
    fn a_host_that_is_behind_takes_no_more_than_it_always_does() {
        let (admittance, _) = admittance(1000, 1000);
        let lag = &admittance.inner.lag;
        lag.behind.store(true, Ordering::Relaxed);
        let held: Vec<_> = (0..ALWAYS)
            .map(|_| admittance.admit(client(1)).expect("room"))
            .collect();
        assert_eq!(admittance.admit(client(2)).err(), Some(Refused::Behind));
        lag.behind.store(false, Ordering::Relaxed);
        assert!(admittance.admit(client(2)).is_ok());
        drop(held);
    }
}
