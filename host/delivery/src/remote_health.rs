//! Circuit breakers and connection limits, per remote.
//!
//! A remote that is down must not hold up mail for other remotes. Three rules ensure this:
//!
//! - A failure to connect opens the remote's circuit. While the circuit is open, deliveries are refused without an
//!   attempt. The open period starts at 30 seconds and doubles with each failed probe, up to 60 seconds.
//! - After the open period the circuit is half-open: a single delivery probes the remote, and all other deliveries are
//!   refused until the probe has ended.
//! - A delivery waits at most 10 seconds for a connection permit, unless another delivery to the same remote has
//!   succeeded within that time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use host_mail::Reply;

use super::destination::Remote;
use crate::connection_limit::RemoteConnectionLimiter;

#[cfg(test)]
mod interleaving_tests;

/// Open period after the first failure; doubled after each failed probe.
const FIRST_OPEN_PERIOD: Duration = Duration::from_secs(30);
/// Longest open period. Short enough for an operator who has repaired a server and released the waiting messages.
const MAX_OPEN_PERIOD: Duration = Duration::from_secs(60);
/// Longest wait for a permit at a remote where no delivery succeeds. Also the time for which a success counts as
/// recent.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Health of every remote in use: a circuit breaker and a connection limit each.
pub(super) struct RemoteHealth {
    remotes: Mutex<HashMap<Remote, Arc<RemoteState>>>,
}

struct RemoteState {
    limiter: Mutex<RemoteConnectionLimiter>,
    circuit: Mutex<CircuitBreaker>,
}

/// Reason for which no connection permit was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unavailable {
    /// Reply to defer the recipients with.
    pub(super) reply: Reply,
    /// True if the circuit is open; false if the wait for a permit timed out.
    pub(super) circuit_open: bool,
}

/// State of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CircuitState {
    /// Deliveries are allowed; no failure is known.
    Closed,
    /// The open period is over: the next delivery probes the remote.
    HalfOpen,
    /// Deliveries are refused: the open period has not ended, or a probe is in progress.
    Open,
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

/// Circuit breaker of a remote.
#[derive(Default)]
struct CircuitBreaker {
    /// `None` while the circuit is closed.
    outage: Option<Outage>,
    /// Time of the last successful delivery.
    last_success: Option<Instant>,
    /// Number of probes so far.
    probes: u64,
}

/// Number of a probe. A permit outlives its probe, and must not be mistaken for that of a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ProbeId(u64);

/// State of a circuit that is open or half-open.
struct Outage {
    since: Instant,
    /// Reply to the deliveries that are refused.
    reply: Reply,
    /// End of the open period: earliest time of the next probe.
    probe_at: Instant,
    /// Length of the open period.
    open_period: Duration,
    /// Probe in progress.
    probe: Option<ProbeId>,
}

/// Right to use a connection to a remote. Dropping the permit returns the connection to the limit; an unfinished probe
/// is left to the next delivery.
pub(super) struct ConnectionPermit {
    remote: Arc<RemoteState>,
    /// Set if the circuit was half-open: the outcome decides for all waiting deliveries.
    probe: Option<ProbeId>,
    permit: Option<OwnedSemaphorePermit>,
}

impl RemoteHealth {
    pub(super) fn new() -> Self {
        Self {
            remotes: Mutex::default(),
        }
    }

    /// Waits for a connection permit at `remote`. `limit` is the configured number of connections, at least 1.
    ///
    /// Fails at once while the circuit is open, and after the permit timeout if no delivery succeeds meanwhile. Cancel
    /// safe.
    pub(super) async fn acquire(&self, remote: &Remote, limit: usize) -> Result<ConnectionPermit, Unavailable> {
        let (state, semaphore) = self.state(remote, limit.max(1));
        let mut acquire = std::pin::pin!(semaphore.acquire_owned());
        state.circuit.lock().check(Instant::now())?;
        loop {
            match timeout(PERMIT_TIMEOUT, acquire.as_mut()).await {
                Ok(Ok(permit)) => {
                    // The circuit may have opened during the wait.
                    let probe = state.circuit.lock().admit(Instant::now())?;
                    return Ok(ConnectionPermit {
                        remote: state,
                        probe,
                        permit: Some(permit),
                    });
                }
                Err(_) if state.succeeded_within(PERMIT_TIMEOUT) => {}
                Ok(Err(_)) | Err(_) => {
                    let text = format!("{} does not answer the deliveries it has", remote.host());
                    let reply = Reply::new(451, (4, 4, 1), text);
                    return Err(Unavailable {
                        reply,
                        circuit_open: false,
                    });
                }
            }
        }
    }

    fn state(&self, remote: &Remote, limit: usize) -> (Arc<RemoteState>, Arc<Semaphore>) {
        let mut remotes = self.remotes.lock();
        let state = match remotes.get(remote) {
            Some(known) => known.clone(),
            None => {
                let state = Arc::new(RemoteState::new(limit));
                remotes.insert(remote.clone(), state.clone());
                state
            }
        };
        let semaphore = state.limiter.lock().semaphore(limit);
        (state, semaphore)
    }

    /// Returns the circuits that are open or half-open, by the name of the remote.
    pub(super) fn tripped_circuits(&self) -> HashMap<String, CircuitState> {
        let remotes = self.remotes.lock();
        let now = Instant::now();
        let states = remotes
            .iter()
            .map(|(remote, state)| (remote, state.circuit.lock().state(now)));
        let tripped = states.filter(|(_, state)| *state != CircuitState::Closed);
        tripped.map(|(remote, state)| (remote.to_string(), state)).collect()
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
        });
    }
}

impl RemoteState {
    fn new(limit: usize) -> Self {
        Self {
            limiter: Mutex::new(RemoteConnectionLimiter::new(limit)),
            circuit: Mutex::default(),
        }
    }

    fn succeeded_within(&self, time: Duration) -> bool {
        self.circuit.lock().last_success.is_some_and(|at| at.elapsed() < time)
    }
}

impl CircuitBreaker {
    /// Refuses a delivery while the circuit is open at `now`.
    fn check(&self, now: Instant) -> Result<(), Unavailable> {
        match &self.outage {
            Some(outage) if outage.is_open(now) => Err(Unavailable {
                reply: outage.reply.clone(),
                circuit_open: true,
            }),
            _ => Ok(()),
        }
    }

    fn state(&self, now: Instant) -> CircuitState {
        match &self.outage {
            None => CircuitState::Closed,
            Some(outage) if outage.is_open(now) => CircuitState::Open,
            Some(_) => CircuitState::HalfOpen,
        }
    }

    /// Admits a delivery like [`Self::check`]. Starts a probe if the circuit is half-open.
    fn admit(&mut self, now: Instant) -> Result<Option<ProbeId>, Unavailable> {
        self.check(now)?;
        let Some(outage) = &mut self.outage else {
            return Ok(None);
        };
        self.probes += 1;
        outage.probe = Some(ProbeId(self.probes));
        Ok(outage.probe)
    }

    /// Opens the circuit after a failure of `probe`, or of a regular delivery; returns true if the circuit was closed
    /// before. The open period is at most half of `shortest_wait`. A probe in progress continues if another delivery
    /// fails.
    fn record_failure(&mut self, now: Instant, reply: Reply, probe: Option<ProbeId>, shortest_wait: Duration) -> bool {
        let has_probe_failed = self.end_probe(probe);
        let before = self.outage.take();
        let open_period = match &before {
            None => FIRST_OPEN_PERIOD,
            Some(outage) if has_probe_failed => (outage.open_period * 2).min(MAX_OPEN_PERIOD),
            // Attempts that ran at the same time count as a single failure.
            Some(outage) => outage.open_period,
        };
        let open_period = open_period.min(shortest_wait / 2);
        self.outage = Some(Outage {
            since: before.as_ref().map_or(now, |outage| outage.since),
            reply,
            probe_at: now + open_period,
            open_period,
            probe: before.as_ref().and_then(|outage| outage.probe),
        });
        before.is_none()
    }

    /// Ends `probe`. Returns false if the probe is not in progress: none, ended before, or of an earlier outage.
    fn end_probe(&mut self, probe: Option<ProbeId>) -> bool {
        let Some(outage) = self
            .outage
            .as_mut()
            .filter(|outage| probe.is_some() && outage.probe == probe)
        else {
            return false;
        };
        outage.probe = None;
        true
    }

    fn is_remembered(&self, now: Instant) -> bool {
        self.outage
            .as_ref()
            .is_some_and(|outage| now < outage.probe_at + MAX_OPEN_PERIOD)
    }
}

impl Outage {
    fn is_open(&self, now: Instant) -> bool {
        self.probe.is_some() || now < self.probe_at
    }
}

impl ConnectionPermit {
    /// Records that the remote could not be reached.
    ///
    /// Opens the circuit for less than `shortest_wait`, the shortest configured wait for a retry, so that each retry
    /// can be attempted. If another delivery has succeeded in the last 10 seconds, the remote is at the limit of its
    /// connections rather than down: the connection limit is reduced instead.
    pub(super) fn record_failure(&mut self, reply: Reply, shortest_wait: Duration) -> FailureEffect {
        let now = Instant::now();
        if self.remote.succeeded_within(PERMIT_TIMEOUT) {
            return self.reduce_limit(now);
        }
        let mut circuit = self.remote.circuit.lock();
        match circuit.record_failure(now, reply, self.probe, shortest_wait) {
            true => FailureEffect::CircuitOpened,
            false => FailureEffect::Unchanged,
        }
    }

    fn reduce_limit(&mut self, now: Instant) -> FailureEffect {
        let Some(permit) = self.permit.take() else {
            return FailureEffect::Unchanged;
        };
        let mut limiter = self.remote.limiter.lock();
        let first = !limiter.is_reduced();
        match limiter.reduce(permit, now) {
            Ok(limit) => FailureEffect::LimitReduced { limit, first },
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
        self.permit.is_none()
    }

    /// Records that the remote accepted or refused mail in an orderly dialogue, and closes the circuit. Returns the
    /// length of the outage, if there was an outage.
    pub(super) fn record_success(&self) -> Option<Duration> {
        let now = Instant::now();
        self.remote.limiter.lock().record_success(now);
        let mut circuit = self.remote.circuit.lock();
        circuit.last_success = Some(now);
        circuit.outage.take().map(|outage| outage.since.elapsed())
    }
}

impl Drop for ConnectionPermit {
    /// Leaves an unfinished probe to the next delivery: the host stops, or the message cannot be read.
    fn drop(&mut self) {
        if self.probe.is_some() {
            self.remote.circuit.lock().end_probe(self.probe);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::destination::Protocol;
    use super::*;

    pub(super) fn remote(endpoint: &str) -> Remote {
        Remote::Server {
            protocol: Protocol::Smtp,
            endpoint: endpoint.parse().expect("an endpoint"),
        }
    }

    pub(super) fn gone() -> Reply {
        Reply::new(451, (4, 4, 1), "gone")
    }

    fn circuit_open() -> Option<Unavailable> {
        Some(Unavailable {
            reply: gone(),
            circuit_open: true,
        })
    }

    #[tokio::test]
    async fn failure_opens_the_circuit_of_that_remote_only() {
        let health = RemoteHealth::new();
        let mut permit = health
            .acquire(&remote("a:25"), 2)
            .await
            .unwrap_or_else(|why| panic!("{why:?}"));
        assert_eq!(
            permit.record_failure(gone(), Duration::from_secs(3600)),
            FailureEffect::CircuitOpened
        );
        assert_eq!(
            permit.record_failure(gone(), Duration::from_secs(3600)),
            FailureEffect::Unchanged
        );
        assert_eq!(health.acquire(&remote("a:25"), 2).await.err(), circuit_open());
        assert!(health.acquire(&remote("b:25"), 2).await.is_ok());
        assert!(permit.record_success().is_some());
        assert_eq!(permit.record_success(), None);
        assert!(health.acquire(&remote("a:25"), 2).await.is_ok());
    }

    #[tokio::test]
    async fn waiting_delivery_gets_the_reply_of_the_failed_attempt() {
        let health = Arc::new(RemoteHealth::new());
        let mut permit = health
            .acquire(&remote("a:25"), 1)
            .await
            .unwrap_or_else(|why| panic!("{why:?}"));
        let waiting = tokio::spawn({
            let health = health.clone();
            async move { health.acquire(&remote("a:25"), 1).await.err() }
        });
        tokio::task::yield_now().await;
        permit.record_failure(gone(), Duration::from_secs(3600));
        drop(permit);
        assert_eq!(waiting.await.expect("no panic"), circuit_open());
    }

    #[tokio::test(start_paused = true)]
    async fn wait_for_a_permit_times_out_without_successes() {
        let health = RemoteHealth::new();
        let _permit = health
            .acquire(&remote("a:25"), 1)
            .await
            .unwrap_or_else(|why| panic!("{why:?}"));
        let refused = health.acquire(&remote("a:25"), 1).await.err().expect("no permit");
        assert_eq!((refused.reply.code, refused.circuit_open), (451, false));
    }

    #[test]
    fn single_probe_and_growing_open_period() {
        let mut now = Instant::now();
        let mut circuit = CircuitBreaker::default();
        let hour = Duration::from_secs(3600);
        assert!(circuit.record_failure(now, gone(), None, hour), "the circuit opens");
        assert!(!circuit.record_failure(now, gone(), None, hour), "the same failure");
        let mut waits = Vec::new();
        for _ in 0..4 {
            let began = now;
            let probe = loop {
                match circuit.admit(now) {
                    Ok(probe) => break probe,
                    Err(_) => now += Duration::from_secs(1),
                }
            };
            waits.push((now - began).as_secs());
            assert_eq!(circuit.admit(now).err(), circuit_open(), "a probe is in progress");
            assert!(!circuit.record_failure(now, gone(), probe, hour));
        }
        assert_eq!(waits, [30, 60, 60, 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn failure_of_an_earlier_attempt_leaves_the_probe_in_progress() {
        let health = RemoteHealth::new();
        let acquire = async || health.acquire(&remote("a:25"), 5).await;
        let all = [acquire().await, acquire().await];
        let [mut first, mut second] = all.map(|permit| permit.unwrap_or_else(|why| panic!("{why:?}")));
        let hour = Duration::from_secs(3600);
        first.record_failure(gone(), hour);
        drop(first);
        tokio::time::advance(FIRST_OPEN_PERIOD).await;
        let _probe = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
        second.record_failure(gone(), hour);
        drop(second);
        tokio::time::advance(FIRST_OPEN_PERIOD).await;
        assert_eq!(acquire().await.err(), circuit_open(), "the probe is in progress");
    }

    #[tokio::test(start_paused = true)]
    async fn permit_of_an_ended_probe_does_not_end_the_next_probe() {
        let health = RemoteHealth::new();
        let acquire = async || health.acquire(&remote("a:25"), 5).await;
        let mut permit = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
        let hour = Duration::from_secs(3600);
        permit.record_failure(gone(), hour);
        drop(permit);
        tokio::time::advance(FIRST_OPEN_PERIOD).await;
        let mut ended = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
        ended.record_failure(gone(), hour);
        tokio::time::advance(FIRST_OPEN_PERIOD * 2).await;
        let _probe = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
        drop(ended);
        assert_eq!(acquire().await.err(), circuit_open(), "the next probe is in progress");
    }

    #[tokio::test]
    async fn unfinished_probe_is_left_to_the_next_delivery() {
        let health = RemoteHealth::new();
        let acquire = async || health.acquire(&remote("a:25"), 5).await;
        let mut permit = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
        // The open period is half of this and ends at once.
        permit.record_failure(gone(), Duration::from_nanos(2));
        drop(permit);
        let probe = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
        assert_eq!(acquire().await.err(), circuit_open(), "a probe is in progress");
        drop(probe);
        let probe = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
        assert!(probe.record_success().is_some());
        let all = [acquire().await, acquire().await];
        assert!(all.iter().all(Result::is_ok), "the circuit is closed again");
    }

    #[tokio::test]
    async fn refused_connection_reduces_the_limit_and_keeps_the_circuit_closed() {
        let health = RemoteHealth::new();
        let acquire = async || health.acquire(&remote("a:25"), 5).await;
        let all = [acquire().await, acquire().await];
        let [mut old, mut new] = all.map(|permit| permit.unwrap_or_else(|why| panic!("{why:?}")));
        old.record_success();
        let hour = Duration::from_secs(3600);
        assert_eq!(
            new.record_failure(gone(), hour),
            FailureEffect::LimitReduced { limit: 2, first: true }
        );
        assert!(new.is_consumed());
        assert_eq!(new.record_failure(gone(), hour), FailureEffect::Unchanged);
        let mut third = acquire().await.unwrap_or_else(|why| panic!("{why:?}"));
        assert_eq!(
            third.record_failure(gone(), hour),
            FailureEffect::LimitReduced { limit: 1, first: false }
        );
        assert_eq!(
            old.record_failure(gone(), hour),
            FailureEffect::Unchanged,
            "the last connection is kept"
        );
        drop(old);
        assert!(acquire().await.is_ok());
    }

    #[tokio::test]
    async fn open_period_is_zero_if_retries_have_no_wait() {
        let health = RemoteHealth::new();
        let mut permit = health
            .acquire(&remote("a:25"), 2)
            .await
            .unwrap_or_else(|why| panic!("{why:?}"));
        permit.record_failure(gone(), Duration::ZERO);
        drop(permit);
        assert!(health.acquire(&remote("a:25"), 2).await.is_ok());
    }

    #[tokio::test]
    async fn changed_limit_keeps_the_circuit_state() {
        let health = RemoteHealth::new();
        let mut permit = health
            .acquire(&remote("a:25"), 2)
            .await
            .unwrap_or_else(|why| panic!("{why:?}"));
        permit.record_failure(gone(), Duration::from_secs(3600));
        assert_eq!(health.acquire(&remote("a:25"), 5).await.err(), circuit_open());
        assert_eq!(
            health.tripped_circuits(),
            HashMap::from([("smtp:a:25".to_owned(), CircuitState::Open)])
        );
        assert!(permit.record_success().is_some());
        let acquire = async || health.acquire(&remote("a:25"), 3).await;
        let all = [acquire().await, acquire().await];
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(health.tripped_circuits(), HashMap::new());
    }

    #[tokio::test]
    async fn prune_removes_unused_healthy_remotes() {
        let health = RemoteHealth::new();
        let used = health.acquire(&remote("a:25"), 2).await.ok();
        drop(health.acquire(&remote("b:25"), 2).await.ok());
        let mut failed = health
            .acquire(&remote("c:25"), 2)
            .await
            .unwrap_or_else(|why| panic!("{why:?}"));
        failed.record_failure(gone(), Duration::from_secs(3600));
        drop(failed);
        health.prune();
        let mut left: Vec<String> = health.remotes.lock().keys().map(ToString::to_string).collect();
        left.sort();
        assert_eq!(left, ["smtp:a:25", "smtp:c:25"]);
        drop(used);
    }
}
