//! Which messages are worked on, and when: waits for what is due, claims it, bounds how much is in
//! hand, and ends in order.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout, timeout_at};

use host_config::Config;
use host_mail::Timestamp;

use crate::claimed_message::{ClaimEnd, Worker};
use crate::connect::Connection;
use crate::remote_health::CircuitState;
use crate::worker::turned_true;

/// Idle connections and forgotten remotes are looked after this often.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Never asks the spool more often than this when nothing changed.
const SHORTEST_SLEEP: Duration = Duration::from_millis(10);
/// Asks the spool at least this often: clocks jump.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// So many messages at a time are woken when their destination can be reached again.
const PORTION: usize = 2000;
const PORTION_IF_BUSY: usize = 200;
/// After the store failed nothing is claimed for this long, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Part of the time for a stop that is kept to settle what is done.
const SETTLING: f64 = 0.2;
const LONGEST_SETTLING: Duration = Duration::from_secs(5);

/// The loop around the spool.
pub(super) struct Scheduler {
    clerk: Worker,
    config: Arc<ArcSwap<Config>>,
    /// What was in force when something was last claimed.
    known: Arc<Config>,
    /// What was in force when the destinations of what waits were last looked at.
    routed: Arc<Config>,
    running: JoinSet<ClaimEnd>,
    shutting_down: watch::Sender<bool>,
    pause: Pause,
}

impl Scheduler {
    /// `shutting_down` is the other end of the clerk's.
    pub(super) fn new(clerk: Worker, config: Arc<ArcSwap<Config>>, shutting_down: watch::Sender<bool>) -> Self {
        Self {
            clerk,
            known: config.load_full(),
            routed: config.load_full(),
            config,
            running: JoinSet::new(),
            shutting_down,
            pause: Pause::default(),
        }
    }

    /// Works until `stop`; returns how many messages were given back undone.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> u64 {
        let mut housekeeping = interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while let Some(ended) = self.running.try_join_next() {
                self.pause.after(&ended, Instant::now());
            }
            let room = self.claim();
            let wake = self.wake();
            tokio::select! {
                () = turned_true(&mut stop) => break,
                Some(ended) = self.running.join_next() => self.pause.after(&ended, Instant::now()),
                () = self.clerk.spool.changed(), if room => {}
                () = sleep_until(wake), if room => {}
                _ = housekeeping.tick() => {
                    self.clean_up();
                    self.wake_waiting();
                }
            }
        }
        self.drain().await
    }

    /// Claims as much as there is room for; whether there is room left, and more may be claimed.
    fn claim(&mut self) -> bool {
        let config = self.config.load_full();
        if !Arc::ptr_eq(&config, &self.known) {
            self.clerk.station.resolver.configure(&config.dns);
            self.known = Arc::clone(&config);
        }
        let room = config.delivery.concurrency.max(1).saturating_sub(self.running.len());
        if room == 0 || self.pause.until.is_some_and(|until| Instant::now() < until) {
            return room > 0;
        }
        for claim in self.clerk.spool.claim_due(Timestamp::now(), room) {
            // Kilobytes, which the runtime would move several times.
            self.running
                .spawn(Box::pin(self.clerk.clone().handle(claim, config.clone())));
        }
        self.running.len() < config.delivery.concurrency.max(1)
    }

    /// When to look again if nothing else happens.
    fn wake(&self) -> Instant {
        let now = Instant::now();
        let due = self.clerk.spool.next_due();
        let wait = due.map_or(LONGEST_SLEEP, |due| Timestamp::now().until(due));
        let wake = now + wait.clamp(SHORTEST_SLEEP, LONGEST_SLEEP);
        self.pause.until.map_or(wake, |until| wake.max(until))
    }

    /// Wakes what waits for a destination: one message to try for all, everybody where nothing bad is known any
    /// more. A few at a time if there is enough to do already: what comes in meanwhile has its turn between them.
    fn wake_waiting(&mut self) {
        let spool = &self.clerk.spool;
        spool.wake_expired(Timestamp::now());
        let destinations = spool.waited_for();
        if destinations.is_empty() {
            return;
        }
        let config = self.config.load_full();
        // After a reload there may be another way for them.
        let rerouted = !Arc::ptr_eq(&config, &self.routed);
        self.routed = Arc::clone(&config);
        let busy = self.running.len() >= config.delivery.concurrency.max(1);
        let portion = if busy { PORTION_IF_BUSY } else { PORTION };
        let standings = self.clerk.station.gate.standings();
        for destination in destinations {
            match standings.get(&*destination) {
                _ if rerouted => spool.wake(&destination, usize::MAX),
                None | Some(CircuitState::Open) => spool.wake(&destination, portion),
                Some(CircuitState::ToBeTried) => spool.wake(&destination, 1),
                Some(CircuitState::Down) => {}
            }
        }
    }

    fn clean_up(&self) {
        self.clerk.station.gate.prune();
        for connection in self.clerk.station.pool.expired() {
            tokio::spawn(connection.quit());
        }
    }

    /// Nothing new. What is in hand may finish; near the end of the time it settles what it has;
    /// at the end it is dropped, and its claims are given back.
    async fn drain(mut self) -> u64 {
        let limit = self.config.load().drain;
        let end = Instant::now() + limit;
        let settling = limit.mul_f64(SETTLING).min(LONGEST_SETTLING);
        let mut given_back = 0;
        if timeout_at(end - settling, finish(&mut self.running, &mut given_back))
            .await
            .is_err()
        {
            self.shutting_down.send_replace(true);
            if timeout_at(end, finish(&mut self.running, &mut given_back))
                .await
                .is_err()
            {
                given_back += self.running.len() as u64;
                self.running.shutdown().await;
            }
        }
        quit_all(self.clerk.station.pool.close()).await;
        given_back
    }
}

async fn finish(running: &mut JoinSet<ClaimEnd>, given_back: &mut u64) {
    while let Some(ended) = running.join_next().await {
        *given_back += u64::from(!matches!(ended, Ok(ClaimEnd::Settled)));
    }
}

async fn quit_all(connections: Vec<Connection>) {
    let mut leaving: JoinSet<()> = connections.into_iter().map(Connection::quit).collect();
    // Each has its own, shorter time-out.
    let _ = timeout(Duration::from_secs(2), async {
        while leaving.join_next().await.is_some() {}
    })
    .await;
}

/// While the store fails, claims come back as soon as they are made.
#[derive(Debug, Default)]
struct Pause {
    until: Option<Instant>,
    last: Duration,
}

impl Pause {
    /// Longer after each failure in a row, over with the first success.
    fn after(&mut self, ended: &Result<ClaimEnd, JoinError>, now: Instant) {
        match ended {
            Ok(ClaimEnd::Settled | ClaimEnd::GivenBack) => *self = Self::default(),
            // Other failures of the same moment do not count again.
            _ if self.until.is_some_and(|until| now < until) => {}
            Ok(ClaimEnd::StoreFailed) | Err(_) => {
                self.last = (self.last * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                self.until = Some(now + self.last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_the_store_fails() {
        let mut now = Instant::now();
        let mut pause = Pause::default();
        let mut lengths = Vec::new();
        for _ in 0..9 {
            pause.after(&Ok(ClaimEnd::StoreFailed), now);
            pause.after(&Ok(ClaimEnd::StoreFailed), now);
            lengths.push(pause.last.as_secs());
            now += pause.last;
        }
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        pause.after(&Ok(ClaimEnd::Settled), now);
        assert_eq!(pause.until, None);
    }
}
