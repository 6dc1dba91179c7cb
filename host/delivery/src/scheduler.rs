//! Scheduler: waits for due messages, claims messages while there are places, and shuts down gracefully.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rand::seq::SliceRandom as _;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout, timeout_at};

use host_config::{Config, HELD_QUEUE};
use host_mail::Timestamp;

use crate::circuit_breaker::CircuitState;
use crate::claimed_message::{ClaimEnd, Worker};
use crate::client_connection::Connection;
use crate::destination::HELD;
use crate::remote_health::WAITING_PER_CONNECTION;
use crate::work_places::WorkPlaces;
use crate::work_result::wait_until_true;

/// Interval of housekeeping: idle connections, unused remotes and waiting messages.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Shortest time between two claims if the spool has not changed.
const SHORTEST_SLEEP: Duration = Duration::from_millis(10);
/// Longest time between two claims, since clocks may jump.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Messages woken at a time, for all destinations together.
const WAKE_BATCH: usize = 2000;
/// Pause of claims after a failure of the store, doubled with each failure in a row up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// Fraction of the drain time that is reserved for settling finished work.
const SETTLE_FRACTION: f64 = 0.2;
/// Longest time that is reserved for settling finished work.
const MAX_SETTLE_TIME: Duration = Duration::from_secs(5);

/// The main loop of delivery.
pub(super) struct Scheduler {
    worker: Arc<Worker>,
    config: Arc<ArcSwap<Config>>,
    /// Configuration at the last claim.
    claim_config: Arc<Config>,
    /// Configuration when waiting messages were last woken.
    wake_config: Arc<Config>,
    running: JoinSet<ClaimEnd>,
    /// Places of the messages that this host works on itself.
    places: Arc<WorkPlaces>,
    shutting_down: watch::Sender<bool>,
    backoff: StoreBackoff,
}

impl Scheduler {
    /// Creates a scheduler. `shutting_down` is the sender of the worker's receiver of the same name.
    pub(super) fn new(worker: Worker, config: Arc<ArcSwap<Config>>, shutting_down: watch::Sender<bool>) -> Self {
        Self {
            worker: Arc::new(worker),
            claim_config: config.load_full(),
            wake_config: config.load_full(),
            config,
            running: JoinSet::new(),
            places: Arc::default(),
            shutting_down,
            backoff: StoreBackoff::default(),
        }
    }

    /// Runs until `stop` turns true. Returns the number of messages that were given back unfinished.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> u64 {
        let (places, services) = (Arc::clone(&self.places), Arc::clone(&self.worker.services));
        let mut housekeeping = interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while let Some(ended) = self.running.try_join_next() {
                self.backoff.record(&ended, Instant::now());
            }
            let room = self.claim_due();
            let next_claim = self.next_claim();
            tokio::select! {
                () = wait_until_true(&mut stop) => break,
                Some(ended) = self.running.join_next() => self.backoff.record(&ended, Instant::now()),
                () = places.left(), if !room => {}
                () = self.worker.spool.changed(), if room => {}
                (destination, count) = services.remote_health.next_room() => self.wake_for(&destination, count),
                () = sleep_until(next_claim), if room => {}
                _ = housekeeping.tick() => {
                    self.clean_up();
                    self.wake_waiting();
                }
            }
        }
        self.drain().await
    }

    /// Claims due messages up to the limit of places. True if the limit is not reached.
    fn claim_due(&mut self) -> bool {
        let config = self.config.load_full();
        if !Arc::ptr_eq(&config, &self.claim_config) {
            self.worker.services.resolver.configure(&config.dns);
            self.worker.services.policies.dane.configure(&config.dns);
            self.worker
                .services
                .policies
                .reports
                .switch(config.delivery.tls_reports.is_some());
            self.claim_config = Arc::clone(&config);
        }
        let concurrency = config.delivery.concurrency.max(1);
        let room = concurrency.saturating_sub(self.places.used());
        if room == 0 || self.backoff.until.is_some_and(|until| Instant::now() < until) {
            return room > 0;
        }
        for claim in self.worker.spool.claim_due(Timestamp::now(), room) {
            // Boxed: the future has kilobytes, which the runtime would move several times.
            let work = Arc::clone(&self.worker).handle(claim, Arc::clone(&config), self.places.enter());
            self.running.spawn(Box::pin(work));
        }
        self.places.used() < concurrency
    }

    /// Time of the next claim if no other event occurs.
    fn next_claim(&self) -> Instant {
        let now = Instant::now();
        let due = self.worker.spool.next_due();
        let wait = due.map_or(LONGEST_SLEEP, |due| Timestamp::now().until(due));
        let wake = now + wait.clamp(SHORTEST_SLEEP, LONGEST_SLEEP);
        self.backoff.until.map_or(wake, |until| wake.max(until))
    }

    /// Wakes messages that wait for a destination: a single message as the probe of a half-open circuit, and as many as
    /// may wait in memory if the circuit is closed. The destinations are served in random order, up to a batch in all. Mail
    /// that a route holds is left alone.
    fn wake_waiting(&mut self) {
        let spool = &self.worker.spool;
        spool.wake_expired(Timestamp::now());
        let mut destinations = spool.waited_for();
        if destinations.is_empty() {
            return;
        }
        let config = self.config.load_full();
        // After a reload another route may apply.
        if !Arc::ptr_eq(&config, &self.wake_config) {
            self.wake_config = Arc::clone(&config);
            for destination in &destinations {
                spool.wake(destination, usize::MAX);
            }
            return;
        }
        // Only ETRN or an operator releases these.
        destinations.retain(|destination| !destination.starts_with(HELD_QUEUE));
        let remotes = self.worker.services.remote_health.by_name();
        destinations.shuffle(&mut rand::rng());
        let mut batch = WAKE_BATCH;
        for destination in destinations.iter().filter(|name| !name.starts_with(HELD)) {
            let wanted = match remotes.get(destination) {
                None => config.delivery.per_destination.saturating_mul(WAITING_PER_CONNECTION),
                Some((CircuitState::Closed, room)) => *room,
                Some((CircuitState::HalfOpen, _)) => 1,
                Some((CircuitState::Open, _)) => 0,
            };
            let woken = spool.wake(destination, wanted.min(batch));
            batch -= woken;
            if woken == wanted {
                self.worker.services.remote_health.expect_room(destination);
            }
        }
    }

    /// Wakes messages for a destination that has room for `count` deliveries.
    fn wake_for(&self, destination: &str, count: usize) {
        if self.worker.spool.wake(destination, count) == count {
            self.worker.services.remote_health.expect_room(destination);
        }
    }

    fn clean_up(&self) {
        self.worker.services.remote_health.prune();
        for connection in self.worker.services.pool.expired() {
            tokio::spawn(connection.quit());
        }
    }

    /// Shuts down without new claims. Running work may finish; near the end of the drain time, workers settle the
    /// finished part; at the end, work is dropped and the claims are given back.
    async fn drain(mut self) -> u64 {
        let limit = self.config.load().drain;
        let end = Instant::now() + limit;
        let settling = limit.mul_f64(SETTLE_FRACTION).min(MAX_SETTLE_TIME);
        let mut given_back = 0;
        if timeout_at(end - settling, join_running(&mut self.running, &mut given_back))
            .await
            .is_err()
        {
            self.shutting_down.send_replace(true);
            if timeout_at(end, join_running(&mut self.running, &mut given_back))
                .await
                .is_err()
            {
                given_back += self.running.len() as u64;
                self.running.shutdown().await;
            }
        }
        quit_all(self.worker.services.pool.close()).await;
        given_back
    }
}

async fn join_running(running: &mut JoinSet<ClaimEnd>, given_back: &mut u64) {
    while let Some(ended) = running.join_next().await {
        *given_back += u64::from(!matches!(ended, Ok(ClaimEnd::Settled)));
    }
}

async fn quit_all(connections: Vec<Connection>) {
    let mut leaving: JoinSet<()> = connections.into_iter().map(Connection::quit).collect();
    // Each QUIT has a shorter timeout of its own.
    let _ = timeout(Duration::from_secs(2), async {
        while leaving.join_next().await.is_some() {}
    })
    .await;
}

/// Backoff of claims while the store fails, since a message that was not settled is due again at once.
#[derive(Debug, Default)]
struct StoreBackoff {
    until: Option<Instant>,
    last: Duration,
}

impl StoreBackoff {
    /// Lengthens the backoff after a failure and ends the backoff after a success.
    fn record(&mut self, ended: &Result<ClaimEnd, JoinError>, now: Instant) {
        match ended {
            Ok(ClaimEnd::Settled | ClaimEnd::GivenBack) => *self = Self::default(),
            // Failures during a backoff do not lengthen the backoff.
            _ if self.until.is_some_and(|until| now < until) => {}
            Ok(ClaimEnd::StoreFailed) | Err(_) => {
                self.last = (self.last * 2).clamp(MIN_BACKOFF, MAX_BACKOFF);
                self.until = Some(now + self.last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_while_the_store_fails() {
        let mut now = Instant::now();
        let mut backoff = StoreBackoff::default();
        let mut lengths = Vec::new();
        for _ in 0..9 {
            backoff.record(&Ok(ClaimEnd::StoreFailed), now);
            backoff.record(&Ok(ClaimEnd::StoreFailed), now);
            lengths.push(backoff.last.as_secs());
            now += backoff.last;
        }
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        backoff.record(&Ok(ClaimEnd::Settled), now);
        assert_eq!(backoff.until, None);
    }
}
