//! Circuit breakers and connection limits, per remote.
//!
//! A remote that is down or slow must not hold up mail for other remotes. Four rules ensure this:
//!
//! - A failure to connect opens the remote's circuit. While the circuit is open, deliveries are refused without an
//!   attempt. The open period starts at 30 seconds and doubles with each failed probe, up to 60 seconds.
//! - After the open period the circuit is half-open: a single delivery probes the remote, and all other deliveries are
//!   refused until the probe has ended.
//! - A delivery without an answer opens the circuit, too, and is itself the probe.
//! - Few deliveries wait in memory for a connection to the remote. The others are refused and wait in the spool, until
//!   [`RemoteHealth::next_room`] names the remote.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use host_config::HopRate;
use host_mail::Reply;

use super::destination::Remote;
use crate::circuit_breaker::{AdmissionId, CircuitBreaker, CircuitState};
use crate::connection_limit::RemoteConnectionLimiter;
use crate::pace::Pace;
use crate::wait_room::{RoomList, WaitCount, WaitEntry};

#[cfg(test)]
mod interleaving_tests;
#[cfg(test)]
mod tests;

/// Time for which a success counts as recent: a failure then means that the remote is at the limit of its connections.
const RECENT_SUCCESS: Duration = Duration::from_secs(10);
/// Deliveries of which each is a trouble, without a success in between, that open the circuit.
const TROUBLES: u32 = 5;
/// Time for which troubles are remembered.
const TROUBLE_MEMORY: Duration = Duration::from_secs(60);
/// Deliveries that wait in memory for each connection that the remote may have.
pub(super) const WAITING_PER_CONNECTION: usize = 4;
/// Maximum number of deliveries to all remotes that wait in memory for a connection.
const MAX_WAITING: usize = 2000;

/// Health of every remote in use: a circuit breaker and a connection limit each.
pub(super) struct RemoteHealth {
    remotes: Mutex<HashMap<Remote, Arc<RemoteState>>>,
    /// Deliveries to all remotes that wait for a connection.
    waiting: Arc<WaitCount>,
    rooms: Arc<RoomList>,
}

struct RemoteState {
    /// Name of the remote in the spool.
    name: Arc<str>,
    limiter: Mutex<RemoteConnectionLimiter>,
    circuit: Mutex<CircuitBreaker>,
    /// Notified when the circuit opens.
    opened: Notify,
    troubles: Mutex<Troubles>,
    pace: Mutex<Pace>,
    /// Deliveries that wait for a connection.
    waiting: Arc<WaitCount>,
    /// Deliveries that may wait for a connection.
    max_waiting: AtomicUsize,
    /// True if deliveries may wait in the spool for a connection.
    is_crowded: AtomicBool,
    rooms: Arc<RoomList>,
}

/// Deliveries that the remote has cut off or deferred since the last success.
#[derive(Default)]
struct Troubles {
    count: u32,
    last: Option<Instant>,
}

/// A delivery that waits for a connection.
struct WaitGuard {
    /// Entries of the remote and of all remotes.
    entries: Option<[WaitEntry; 2]>,
    remote: Arc<RemoteState>,
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        self.entries = None;
        self.remote.announce_room();
    }
}

/// Reason for which no connection permit was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unavailable {
    /// Reply to defer the recipients with.
    pub(super) reply: Reply,
    /// True if the circuit is open; false if too many deliveries wait for a connection already.
    pub(super) circuit_open: bool,
}

/// Bound on the deliveries that wait in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitBound {
    /// A small bound for each remote: the message can wait in the spool instead.
    Remote,
    /// The bound of all remotes together: the message has other destinations, too.
    Total,
}

/// Effect of a failure to reach a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureEffect {
    /// The circuit was closed and is now open.
    CircuitOpened,
    /// The circuit was open before, or the connection limit cannot be reduced further.
    Unchanged,
    /// The remote accepts mail on other connections, so the connection limit was reduced and the circuit stays closed.
    /// The permit is consumed; the caller may wait for another permit.
    LimitReduced {
        /// Connections that are allowed from now on.
        limit: usize,
        /// True if the limit was not reduced before, or had returned to the configured value.
        first: bool,
    },
}

/// Right to use a connection to a remote. Dropping the permit returns the connection to the limit; an unfinished probe
/// is left to the next delivery.
pub(super) struct ConnectionPermit {
    remote: Arc<RemoteState>,
    id: AdmissionId,
    /// `None` for a forced delivery, which does not count to the limit, and once the permit is consumed.
    permit: Option<OwnedSemaphorePermit>,
    is_consumed: bool,
}

/// Reporter of a delivery that gets no answer, beside the delivery's permit.
pub(super) struct StallReporter {
    remote: Arc<RemoteState>,
    id: AdmissionId,
}

impl RemoteHealth {
    pub(super) fn new() -> Self {
        Self {
            remotes: Mutex::default(),
            waiting: Arc::default(),
            rooms: Arc::default(),
        }
    }

    /// Waits for a connection permit at `remote`. `limit` is the configured number of connections, at least 1.
    ///
    /// Fails while the circuit is open, also if the circuit opens during the wait, and at once if as many deliveries
    /// wait already as `bound` allows. Cancel safe.
    pub(super) async fn acquire(
        &self,
        remote: &Remote,
        limit: usize,
        bound: WaitBound,
    ) -> Result<ConnectionPermit, Unavailable> {
        let (state, semaphore) = self.state(remote, limit.max(1));
        state.check(Instant::now())?;
        let permit = match Arc::clone(&semaphore).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = self.begin_wait(&state, bound)?;
                state.wait_for_permit(semaphore).await?
            }
        };
        // The circuit may have opened during the wait.
        let id = state.circuit.lock().admit(Instant::now()).map_err(circuit_open)?;
        Ok(ConnectionPermit {
            remote: state,
            id,
            permit: Some(permit),
            is_consumed: false,
        })
    }

    /// Returns a permit beyond the limit and in any state of the circuit, for a message that an operator has released.
    pub(super) fn force(&self, remote: &Remote, limit: usize) -> ConnectionPermit {
        let (state, _) = self.state(remote, limit.max(1));
        let id = state.circuit.lock().force();
        ConnectionPermit {
            remote: state,
            id,
            permit: None,
            is_consumed: false,
        }
    }

    fn begin_wait(&self, state: &Arc<RemoteState>, bound: WaitBound) -> Result<WaitGuard, Unavailable> {
        let max = match bound {
            WaitBound::Remote => state.max_waiting.load(Ordering::Relaxed),
            WaitBound::Total => usize::MAX,
        };
        let entries = state
            .waiting
            .enter(max)
            .and_then(|own| Some([own, self.waiting.enter(MAX_WAITING)?]));
        let guard = entries.map(|entries| WaitGuard {
            entries: Some(entries),
            remote: Arc::clone(state),
        });
        guard.ok_or_else(|| {
            state.is_crowded.store(true, Ordering::Relaxed);
            let text = format!("{} has as many deliveries as it takes", remote_host(&state.name));
            Unavailable {
                reply: Reply::new(451, (4, 4, 5), text),
                circuit_open: false,
            }
        })
    }

    fn state(&self, remote: &Remote, limit: usize) -> (Arc<RemoteState>, Arc<Semaphore>) {
        let mut remotes = self.remotes.lock();
        let state = match remotes.get(remote) {
            Some(known) => known.clone(),
            None => {
                let state = Arc::new(RemoteState::new(remote, limit, &self.rooms));
                remotes.insert(remote.clone(), state.clone());
                state
            }
        };
        state
            .max_waiting
            .store(limit.saturating_mul(WAITING_PER_CONNECTION), Ordering::Relaxed);
        let semaphore = state.limiter.lock().semaphore(limit);
        (state, semaphore)
    }

    /// Returns, for each remote in use, the state of the circuit and the number of deliveries that may still wait for a
    /// connection, by the name of the remote.
    pub(super) fn by_name(&self) -> HashMap<Arc<str>, (CircuitState, usize)> {
        let remotes = self.remotes.lock();
        let now = Instant::now();
        let known = remotes.values().map(|state| {
            let circuit = state.circuit.lock().state(now);
            (Arc::clone(&state.name), (circuit, state.room()))
        });
        known.collect()
    }

    /// Waits until a remote that has refused deliveries for their number has room, and returns the remote's name and
    /// the number of deliveries that there is room for. Cancel safe. Supports a single waiter.
    pub(super) async fn next_room(&self) -> (Arc<str>, usize) {
        self.rooms.next().await
    }

    /// Makes [`Self::next_room`] name the remote again, because more deliveries wait in the spool.
    pub(super) fn expect_room(&self, name: &str) {
        let remotes = self.remotes.lock();
        if let Some(state) = remotes.values().find(|state| *state.name == *name) {
            state.is_crowded.store(true, Ordering::Relaxed);
        }
    }

    /// Removes remotes that are unused, have a closed circuit and are not in the cooldown of the connection limit. An
    /// open circuit is kept until well after the next probe is due.
    pub(super) fn prune(&self) {
        let mut remotes = self.remotes.lock();
        let now = Instant::now();
        remotes.retain(|_, state| {
            Arc::strong_count(state) > 1
                || state.circuit.lock().is_remembered(now)
                || state.limiter.lock().in_cooldown(now)
                || state.pace.lock().is_remembered(now)
                || state
                    .troubles
                    .lock()
                    .last
                    .is_some_and(|last| now < last + TROUBLE_MEMORY)
        });
    }
}

impl RemoteState {
    fn new(remote: &Remote, limit: usize, rooms: &Arc<RoomList>) -> Self {
        Self {
            name: Arc::from(remote.to_string()),
            limiter: Mutex::new(RemoteConnectionLimiter::new(limit)),
            circuit: Mutex::default(),
            opened: Notify::new(),
            troubles: Mutex::default(),
            pace: Mutex::default(),
            waiting: Arc::default(),
            max_waiting: AtomicUsize::new(0),
            is_crowded: AtomicBool::new(true),
            rooms: Arc::clone(rooms),
        }
    }

    fn check(&self, now: Instant) -> Result<(), Unavailable> {
        self.circuit.lock().check(now).map_err(circuit_open)
    }

    /// Waits for a permit for as long as the circuit is not open.
    async fn wait_for_permit(&self, semaphore: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Unavailable> {
        let mut acquire = std::pin::pin!(semaphore.acquire_owned());
        loop {
            let mut opened = std::pin::pin!(self.opened.notified());
            opened.as_mut().enable();
            self.check(Instant::now())?;
            tokio::select! {
                biased;
                Ok(permit) = acquire.as_mut() => return Ok(permit),
                () = opened => {}
            }
        }
    }

    fn room(&self) -> usize {
        self.max_waiting
            .load(Ordering::Relaxed)
            .saturating_sub(self.waiting.get())
    }

    /// Names the remote to [`RemoteHealth::next_room`] if deliveries were refused and half of the places are free.
    fn announce_room(&self) {
        let (room, max) = (self.room(), self.max_waiting.load(Ordering::Relaxed));
        if room * 2 >= max && self.is_crowded.swap(false, Ordering::Relaxed) {
            self.rooms.push(Arc::clone(&self.name), room);
        }
    }

    fn succeeded_within(&self, time: Duration) -> bool {
        self.circuit.lock().last_success.is_some_and(|at| at.elapsed() < time)
    }

    fn open_circuit(&self, reply: Reply, id: AdmissionId, shortest_wait: Duration) -> FailureEffect {
        let opened = self
            .circuit
            .lock()
            .record_failure(Instant::now(), reply, id, shortest_wait);
        self.opened.notify_waiters();
        match opened {
            true => FailureEffect::CircuitOpened,
            false => FailureEffect::Unchanged,
        }
    }
}

fn circuit_open(reply: Reply) -> Unavailable {
    Unavailable {
        reply,
        circuit_open: true,
    }
}

/// The part of a remote's name after the protocol.
fn remote_host(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, host)| host)
}

impl ConnectionPermit {
    /// Records that the remote could not be reached.
    ///
    /// Opens the circuit for less than `shortest_wait`, the shortest configured wait for a retry, so that each retry
    /// can be attempted. If another delivery has succeeded in the last 10 seconds, the remote is at the limit of its
    /// connections rather than down: the connection limit is reduced instead.
    pub(super) fn record_failure(&mut self, reply: Reply, shortest_wait: Duration) -> FailureEffect {
        if self.remote.succeeded_within(RECENT_SUCCESS) {
            return self.reduce_limit(Instant::now());
        }
        self.remote.open_circuit(reply, self.id, shortest_wait)
    }

    /// Records a delivery that the remote has cut off or put off for a reason that is not the message's. Opens the
    /// circuit after five in a row, at once for a probe.
    pub(super) fn record_trouble(&mut self, reply: Reply, shortest_wait: Duration) -> FailureEffect {
        let troubles = {
            let mut troubles = self.remote.troubles.lock();
            troubles.count = troubles.count.saturating_add(1);
            troubles.last = Some(Instant::now());
            troubles.count
        };
        if troubles < TROUBLES && !self.is_probe() {
            return FailureEffect::Unchanged;
        }
        self.remote.open_circuit(reply, self.id, shortest_wait)
    }

    /// Time to wait before a transaction with `recipients`, which is counted to the rate at once.
    pub(super) fn delay(&self, rate: HopRate, recipients: usize) -> Duration {
        match rate {
            HopRate {
                messages: None,
                recipients: None,
            } => Duration::ZERO,
            rate => self.remote.pace.lock().delay(rate, recipients, Instant::now()),
        }
    }

    /// Slows down after the remote has put this host off: halves the rate, and takes away a connection if there are
    /// several. Returns the number of connections if the remote was not slowed down before.
    pub(super) fn slow_down(&mut self) -> Option<usize> {
        let now = Instant::now();
        let first = self.remote.pace.lock().slow_down(now);
        if let Some(permit) = self.permit.take() {
            match self.remote.limiter.lock().reduce(permit, now) {
                Ok(_) => self.is_consumed = true,
                Err(permit) => self.permit = Some(permit),
            }
        }
        first.then(|| self.remote.limiter.lock().allowed())
    }

    fn reduce_limit(&mut self, now: Instant) -> FailureEffect {
        let Some(permit) = self.permit.take() else {
            return FailureEffect::Unchanged;
        };
        let mut limiter = self.remote.limiter.lock();
        let first = !limiter.is_reduced();
        match limiter.reduce(permit, now) {
            Ok(limit) => {
                self.is_consumed = true;
                FailureEffect::LimitReduced { limit, first }
            }
            Err(permit) => {
                self.permit = Some(permit);
                FailureEffect::Unchanged
            }
        }
    }

    /// Closes the circuit without recording a success: there turned out to be no host to reach.
    pub(super) fn reset_circuit(&self) {
        self.remote.circuit.lock().outage = None;
    }

    /// True if [`Self::record_failure`] has consumed the permit to reduce the connection limit.
    pub(super) fn is_consumed(&self) -> bool {
        self.is_consumed
    }

    /// True if the outcome of this delivery decides for all waiting deliveries.
    fn is_probe(&self) -> bool {
        self.remote.circuit.lock().is_probe(self.id)
    }

    /// Records that the remote accepted or refused mail in an orderly dialogue, and closes the circuit. Returns the
    /// length of the outage, if there was an outage.
    pub(super) fn record_success(&self) -> Option<Duration> {
        let now = Instant::now();
        *self.remote.troubles.lock() = Troubles::default();
        self.remote.limiter.lock().record_success(now);
        self.remote.circuit.lock().record_success(now)
    }

    /// Returns a reporter for use while the permit is borrowed.
    pub(super) fn stall_reporter(&self) -> StallReporter {
        StallReporter {
            remote: Arc::clone(&self.remote),
            id: self.id,
        }
    }
}

impl StallReporter {
    /// Records that the delivery had no answer for `time`. Opens the circuit, unless another delivery has succeeded
    /// within that time, or the circuit is not closed. True if the circuit was opened.
    pub(super) fn record_stall(&self, reply: Reply, time: Duration) -> bool {
        if self.remote.succeeded_within(time) {
            return false;
        }
        let opened = self.remote.circuit.lock().record_stall(Instant::now(), reply, self.id);
        self.remote.opened.notify_waiters();
        opened
    }
}

impl Drop for ConnectionPermit {
    /// Leaves an unfinished probe to the next delivery: the host stops, or the message cannot be read.
    fn drop(&mut self) {
        self.remote.circuit.lock().end_probe(self.id);
    }
}
