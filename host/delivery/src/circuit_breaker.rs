//! Circuit breaker of a remote: after a failure, deliveries are refused until a probe has succeeded.

use std::time::Duration;

use tokio::time::Instant;

use host_mail::Reply;

/// Open period after the first failure; doubled after each failed probe.
pub(super) const FIRST_OPEN_PERIOD: Duration = Duration::from_secs(30);
/// Longest open period. Short enough for an operator who has repaired a server and released the waiting messages.
pub(super) const MAX_OPEN_PERIOD: Duration = Duration::from_secs(60);

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

/// Number of an admitted delivery. A permit outlives its probe, and must not be mistaken for that of a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AdmissionId(u64);

/// Circuit breaker of a remote.
#[derive(Default)]
pub(super) struct CircuitBreaker {
    /// `None` while the circuit is closed.
    pub(super) outage: Option<Outage>,
    /// Time of the last successful delivery.
    pub(super) last_success: Option<Instant>,
    /// Number of admitted deliveries so far.
    admitted: u64,
}

/// State of a circuit that is open or half-open.
pub(super) struct Outage {
    since: Instant,
    /// Reply to the deliveries that are refused.
    reply: Reply,
    /// End of the open period: earliest time of the next probe.
    probe_at: Instant,
    /// Length of the open period.
    pub(super) open_period: Duration,
    /// Probe in progress.
    pub(super) probe: Option<AdmissionId>,
}

impl CircuitBreaker {
    /// Refuses a delivery while the circuit is open at `now`. The error is the reply of the failure.
    pub(super) fn check(&self, now: Instant) -> Result<(), Reply> {
        match &self.outage {
            Some(outage) if outage.is_open(now) => Err(outage.reply.clone()),
            _ => Ok(()),
        }
    }

    pub(super) fn state(&self, now: Instant) -> CircuitState {
        match &self.outage {
            None => CircuitState::Closed,
            Some(outage) if outage.is_open(now) => CircuitState::Open,
            Some(_) => CircuitState::HalfOpen,
        }
    }

    /// Admits a delivery like [`Self::check`]. The delivery is the probe if the circuit is half-open.
    pub(super) fn admit(&mut self, now: Instant) -> Result<AdmissionId, Reply> {
        self.check(now)?;
        Ok(self.force())
    }

    /// Admits a delivery in any state. The delivery is the probe if the circuit is not closed and has no probe.
    pub(super) fn force(&mut self) -> AdmissionId {
        self.admitted += 1;
        let id = AdmissionId(self.admitted);
        if let Some(outage) = &mut self.outage {
            outage.probe.get_or_insert(id);
        }
        id
    }

    pub(super) fn is_probe(&self, id: AdmissionId) -> bool {
        self.outage.as_ref().is_some_and(|outage| outage.probe == Some(id))
    }

    /// Opens the circuit after a failure of the delivery `id`; returns true if the circuit was closed before. The open
    /// period is at most half of `shortest_wait`. A probe in progress continues if another delivery fails.
    pub(super) fn record_failure(
        &mut self,
        now: Instant,
        reply: Reply,
        id: AdmissionId,
        shortest_wait: Duration,
    ) -> bool {
        let has_probe_failed = self.end_probe(id);
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

    /// Opens a closed circuit because the delivery `id` gets no answer. The delivery becomes the probe: all others are
    /// refused until the delivery ends. False if the circuit is not closed.
    pub(super) fn record_stall(&mut self, now: Instant, reply: Reply, id: AdmissionId) -> bool {
        if self.outage.is_some() {
            return false;
        }
        self.outage = Some(Outage {
            since: now,
            reply,
            probe_at: now,
            open_period: FIRST_OPEN_PERIOD / 2,
            probe: Some(id),
        });
        true
    }

    /// Closes the circuit after a successful delivery. Returns the length of the outage, if there was an outage.
    pub(super) fn record_success(&mut self, now: Instant) -> Option<Duration> {
        self.last_success = Some(now);
        self.outage.take().map(|outage| now.duration_since(outage.since))
    }

    /// Ends the probe `id`. Returns false if that probe is not in progress: none, ended before, or of an earlier outage.
    pub(super) fn end_probe(&mut self, id: AdmissionId) -> bool {
        let is_probe = self.is_probe(id);
        if let Some(outage) = self.outage.as_mut().filter(|_| is_probe) {
            outage.probe = None;
        }
        is_probe
    }

    /// True while an outage is too recent to be forgotten.
    pub(super) fn is_remembered(&self, now: Instant) -> bool {
        self.outage
            .as_ref()
            .is_some_and(|outage| outage.probe.is_some() || now < outage.probe_at + MAX_OPEN_PERIOD)
    }
}

impl Outage {
    fn is_open(&self, now: Instant) -> bool {
        self.probe.is_some() || now < self.probe_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone() -> Reply {
        Reply::new(451, (4, 4, 1), "gone")
    }

    #[test]
    fn single_probe_and_growing_open_period() {
        let mut now = Instant::now();
        let mut circuit = CircuitBreaker::default();
        let hour = Duration::from_secs(3600);
        let [first, second] = [circuit.force(), circuit.force()];
        assert!(circuit.record_failure(now, gone(), first, hour), "the circuit opens");
        assert!(!circuit.record_failure(now, gone(), second, hour), "the same failure");
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
            assert_eq!(circuit.admit(now).err(), Some(gone()), "a probe is in progress");
            assert!(!circuit.record_failure(now, gone(), probe, hour));
        }
        assert_eq!(waits, [30, 60, 60, 60]);
    }

    #[test]
    fn stalled_delivery_is_the_probe_until_its_end() {
        let now = Instant::now();
        let mut circuit = CircuitBreaker::default();
        let [stalled, other] = [circuit.force(), circuit.force()];
        assert!(circuit.record_stall(now, gone(), stalled));
        assert!(!circuit.record_stall(now, gone(), other), "a single outage");
        let later = now + MAX_OPEN_PERIOD * 2;
        assert_eq!(circuit.admit(later).err(), Some(gone()));
        circuit.end_probe(other);
        assert_eq!(circuit.state(later), CircuitState::Open);
        circuit.end_probe(stalled);
        assert_eq!(circuit.state(later), CircuitState::HalfOpen);
        assert!(circuit.record_success(later).is_some());
        assert_eq!(circuit.state(later), CircuitState::Closed);
    }
}
