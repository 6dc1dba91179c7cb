//! How many deliveries one remote has at once, and which remotes cannot be reached just now.
//!
//! A remote that is gone must not hold everybody up. Three rules see to that. After a failure to
//! connect its other messages wait without trying, each time for longer. When that time
//! is over one message tries, and the others still wait until it is known what came of
//! it. And who waits for a turn at a remote where nothing has succeeded lately waits a few seconds
//! at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use host_mail::Reply;

use super::destination::Remote;
use crate::connection_limit::ConnectionLimiter;

/// How long the first failure to connect is remembered; each further one in a row twice as long.
const MEMORY: Duration = Duration::from_secs(30);
/// Longest time a failure to connect is remembered. Not longer than somebody waits who repaired the
/// server and released its messages.
const LONGEST_MEMORY: Duration = Duration::from_secs(60);
/// How long to wait for a turn where nothing succeeds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Turns at remotes.
pub(super) struct RemoteHealth {
    remotes: Mutex<HashMap<Remote, Arc<RemoteState>>>,
    patience: Duration,
}

struct RemoteState {
    turns: Mutex<ConnectionLimiter>,
    news: Mutex<ConnectResult>,
}

/// Why there is no turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unavailable {
    /// What to defer with.
    pub(super) reply: Reply,
    /// The remote is known to be down: there is nothing to do before it is tried again.
    pub(super) down: bool,
}

/// How a remote stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CircuitState {
    /// Nothing bad is known of it.
    Open,
    /// It is time that somebody tries.
    ToBeTried,
    /// Nobody is to try now.
    Down,
}

/// What it means that a remote could not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreachable {
    /// It was not known to be down.
    ConnectResult,
    /// Nothing new, or too little to go by.
    Known,
    /// It takes mail on other connections, and gives no more of them: so many are left. This turn is over, and another
    /// may be waited for.
    Crowded {
        left: usize,
        /// None was refused before, or there were as many as are configured again.
        first: bool,
    },
}

/// What is known of a remote.
#[derive(Default)]
struct ConnectResult {
    down: Option<Down>,
    /// When something last succeeded there.
    success: Option<Instant>,
}

/// A remote that could not be reached when it was last tried.
struct Down {
    since: Instant,
    /// The answer to all that do not try.
    reply: Reply,
    /// Nobody tries before.
    until: Instant,
    /// How long that is.
    memory: Duration,
    /// Somebody tries just now.
    probed: bool,
}

/// What may be done at a remote.
enum Leave {
    /// Deliver.
    Go,
    /// Try, for everybody.
    Probe,
}

/// A turn at a remote; dropping it ends it.
pub(super) struct ConnectionPermit {
    entry: Arc<RemoteState>,
    probing: bool,
    permit: Option<OwnedSemaphorePermit>,
}

impl RemoteHealth {
    pub(super) fn new() -> Self {
        Self::with_patience(PATIENCE)
    }

    fn with_patience(patience: Duration) -> Self {
        let remotes = Mutex::default();
        Self { remotes, patience }
    }

    /// Waits for a turn at the remote.
    pub(super) async fn enter(&self, remote: &Remote, limit: usize) -> Result<ConnectionPermit, Unavailable> {
        let (entry, turns) = self.entry(remote, limit.max(1));
        let mut acquire = std::pin::pin!(turns.acquire_owned());
        entry.news().look(Instant::now())?;
        loop {
            match timeout(self.patience, acquire.as_mut()).await {
                Ok(Ok(permit)) => {
                    // It may have gone while this one waited.
                    let probing = matches!(entry.news().leave(Instant::now())?, Leave::Probe);
                    return Ok(ConnectionPermit {
                        entry,
                        probing,
                        permit: Some(permit),
                    });
                }
                Err(_) if entry.succeeded_within(self.patience) => {}
                Ok(Err(_)) | Err(_) => {
                    let text = format!("{} does not answer the deliveries it has", remote.host());
                    let reply = Reply::new(451, (4, 4, 1), text);
                    return Err(Unavailable { reply, down: false });
                }
            }
        }
    }

    fn entry(&self, remote: &Remote, limit: usize) -> (Arc<RemoteState>, Arc<Semaphore>) {
        let mut remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match remotes.get(remote) {
            Some(known) => known.clone(),
            None => {
                let entry = Arc::new(RemoteState::new(limit));
                remotes.insert(remote.clone(), entry.clone());
                entry
            }
        };
        let turns = entry.turns().of(limit);
        (entry, turns)
    }

    /// How remotes stand that something bad is known of, by name.
    pub(super) fn standings(&self) -> HashMap<String, CircuitState> {
        let remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let standings = remotes
            .iter()
            .map(|(remote, entry)| (remote, entry.news().standing(now)));
        let bad = standings.filter(|(_, standing)| *standing != CircuitState::Open);
        bad.map(|(remote, standing)| (remote.to_string(), standing)).collect()
    }

    /// Forgets remotes that nobody uses and nothing is remembered of. A remote that is down is
    /// remembered until well after the next attempt may be made.
    pub(super) fn prune(&self) {
        let mut remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        remotes.retain(|_, entry| {
            Arc::strong_count(entry) > 1 || entry.news().is_worth_keeping(now) || entry.turns().in_cooldown(now)
        });
    }
}

impl RemoteState {
    fn new(limit: usize) -> Self {
        Self {
            turns: Mutex::new(ConnectionLimiter::new(limit)),
            news: Mutex::default(),
        }
    }

    fn turns(&self) -> MutexGuard<'_, ConnectionLimiter> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn news(&self) -> MutexGuard<'_, ConnectResult> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn succeeded_within(&self, time: Duration) -> bool {
        self.news().success.is_some_and(|at| at.elapsed() < time)
    }
}

impl ConnectResult {
    /// Whether there is anything to wait for.
    fn look(&self, now: Instant) -> Result<Leave, Unavailable> {
        match (self.standing(now), &self.down) {
            (CircuitState::Down, Some(down)) => Err(Unavailable {
                reply: down.reply.clone(),
                down: true,
            }),
            (CircuitState::ToBeTried, _) => Ok(Leave::Probe),
            (CircuitState::Open | CircuitState::Down, _) => Ok(Leave::Go),
        }
    }

    fn standing(&self, now: Instant) -> CircuitState {
        match &self.down {
            None => CircuitState::Open,
            Some(down) if down.probed || now < down.until => CircuitState::Down,
            Some(_) => CircuitState::ToBeTried,
        }
    }

    /// As [`Self::look`], and who is told to probe does.
    fn leave(&mut self, now: Instant) -> Result<Leave, Unavailable> {
        let leave = self.look(now)?;
        if let (Leave::Probe, Some(down)) = (&leave, &mut self.down) {
            down.probed = true;
        }
        Ok(leave)
    }

    /// It could not be reached. True if it was not known to be down.
    fn fail(&mut self, now: Instant, reply: Reply, probed: bool, shortest_wait: Duration) -> bool {
        let before = self.down.take();
        let memory = match &before {
            None => MEMORY,
            Some(down) if probed => (down.memory * 2).min(LONGEST_MEMORY),
            // Several tried at the same time: that is one failure.
            Some(down) => down.memory,
        };
        let memory = memory.min(shortest_wait / 2);
        self.down = Some(Down {
            since: before.as_ref().map_or(now, |down| down.since),
            reply,
            until: now + memory,
            memory,
            probed: false,
        });
        before.is_none()
    }

    fn is_worth_keeping(&self, now: Instant) -> bool {
        self.down.as_ref().is_some_and(|down| now < down.until + LONGEST_MEMORY)
    }
}

impl ConnectionPermit {
    /// The remote could not be reached. Remembered for a while, but for less than the shortest wait
    /// for a retry, so that each retry has a chance of being made. Where others succeed just now it is not down: it
    /// has all the connections it wants.
    pub(super) fn down(&mut self, reply: Reply, shortest_wait: Duration) -> Unreachable {
        let now = Instant::now();
        if self.entry.succeeded_within(PATIENCE) {
            return self.crowded(now);
        }
        match self.entry.news().fail(now, reply, self.probing, shortest_wait) {
            true => Unreachable::ConnectResult,
            false => Unreachable::Known,
        }
    }

    fn crowded(&mut self, now: Instant) -> Unreachable {
        let Some(permit) = self.permit.take() else {
            return Unreachable::Known;
        };
        let mut turns = self.entry.turns();
        let first = !turns.is_reduced();
        match turns.give_up(permit, now) {
            Ok(left) => Unreachable::Crowded { left, first },
            Err(permit) => {
                self.permit = Some(permit);
                Unreachable::Known
            }
        }
    }

    /// There turned out to be nobody to reach: what was known is over.
    pub(super) fn forget(&self) {
        self.entry.news().down = None;
    }

    /// Whether [`Self::down`] has ended it.
    pub(super) fn is_over(&self) -> bool {
        self.permit.is_none()
    }

    /// The remote took something, or refused it in good order. How long it was down, if it was.
    pub(super) fn success(&self) -> Option<Duration> {
        let now = Instant::now();
        self.entry.turns().taken(now);
        let mut news = self.entry.news();
        news.success = Some(now);
        news.down.take().map(|down| down.since.elapsed())
    }
}

impl Drop for ConnectionPermit {
    /// Who was to try and came to nothing, because the host stops or the message cannot be read,
    /// leaves it to the next.
    fn drop(&mut self) {
        if self.probing
            && let Some(down) = &mut self.entry.news().down
        {
            down.probed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::destination::Protocol;
    use super::*;

    fn remote(endpoint: &str) -> Remote {
        Remote::Server {
            protocol: Protocol::Smtp,
            endpoint: endpoint.parse().expect("an endpoint"),
        }
    }

    fn gone() -> Reply {
        Reply::new(451, (4, 4, 1), "gone")
    }

    fn known() -> Option<Unavailable> {
        Some(Unavailable {
            reply: gone(),
            down: true,
        })
    }

    #[tokio::test]
    async fn a_failure_is_remembered_for_its_remote_only() {
        let gate = RemoteHealth::new();
        let mut turn = gate
            .enter(&remote("a:25"), 2)
            .await
            .unwrap_or_else(|why| panic!("{why:?}"));
        assert_eq!(turn.down(gone(), Duration::from_secs(3600)), Unreachable::ConnectResult);
        assert_eq!(turn.down(gone(), Duration::from_secs(3600)), Unreachable::Known);
        assert_eq!(gate.enter(&remote("a:25"), 2).await.err(), known());
        assert!(gate.enter(&remote("b:25"), 2).await.is_ok());
        assert!(turn.success().is_some());
        assert_eq!(turn.success(), None);
        assert!(gate.enter(&remote("a:25"), 2).await.is_ok());
    }

    #[tokio::test]
    async fn who_waited_gets_the_answer_of_who_tried() {
        let gate = Arc::new(RemoteHealth::new());
        let mut turn = gate
            .enter(&remote("a:25"), 1)
            .await
            .unwrap_or_else(|why| panic!("{why:?}"));
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter(&remote("a:25"), 1).await.err() }
        });
        tokio::task::yield_now().await;
        turn.down(gone(), Duration::from_secs(3600));
        drop(turn);
        assert_eq!(waiting.await.expect("no panic"), known());
    }

    #[tokio::test]
    async fn patience_ends_where_nothing_succeeds() {
        let gate = RemoteHealth::with_patience(Duration::from_millis(20));
        let _turn = gate
            .enter(&remote("a:25"), 1)
            .await
            .unwrap_or_else(|why| panic!("{why:?}"));
        let refused = gate.enter(&remote("a:25"), 1).await.err().expect("no turn");
        assert_eq!((refused.reply.code, refused.down), (451, false));
    }

    #[test]
    fn one_tries_for_all_and_ever_more_rarely() {
        let mut now = Instant::now();
        let mut news = ConnectResult::default();
        let hour = Duration::from_secs(3600);
        assert!(news.fail(now, gone(), false, hour), "news");
        assert!(!news.fail(now, gone(), false, hour), "the same failure");
        let mut waits = Vec::new();
        for _ in 0..4 {
            let began = now;
            while news.leave(now).is_err() {
                now += Duration::from_secs(1);
            }
            waits.push((now - began).as_secs());
            assert_eq!(news.leave(now).err(), known(), "one tries already");
            assert!(!news.fail(now, gone(), true, hour));
        }
        assert_eq!(waits, [30, 60, 60, 60]);
    }

    #[tokio::test]
    async fn whoever_was_to_try_and_did_not_leaves_it_to_the_next() {
        let gate = RemoteHealth::new();
        let enter = async || gate.enter(&remote("a:25"), 5).await;
        let mut turn = enter().await.unwrap_or_else(|why| panic!("{why:?}"));
        // Half of this is over at once.
        turn.down(gone(), Duration::from_nanos(2));
        drop(turn);
        let probe = enter().await.unwrap_or_else(|why| panic!("{why:?}"));
        assert_eq!(enter().await.err(), known(), "one tries already");
        drop(probe);
        let probe = enter().await.unwrap_or_else(|why| panic!("{why:?}"));
        assert!(probe.success().is_some());
        let all = [enter().await, enter().await];
        assert!(all.iter().all(Result::is_ok), "open to all again");
    }

    #[tokio::test]
    async fn one_connection_too_many_closes_the_gate_to_nobody() {
        let gate = RemoteHealth::new();
        let enter = async || gate.enter(&remote("a:25"), 5).await;
        let all = [enter().await, enter().await];
        let [mut old, mut new] = all.map(|turn| turn.unwrap_or_else(|why| panic!("{why:?}")));
        old.success();
        let hour = Duration::from_secs(3600);
        assert_eq!(new.down(gone(), hour), Unreachable::Crowded { left: 2, first: true });
        assert!(new.is_over());
        assert_eq!(new.down(gone(), hour), Unreachable::Known);
        let mut third = enter().await.unwrap_or_else(|why| panic!("{why:?}"));
        assert_eq!(third.down(gone(), hour), Unreachable::Crowded { left: 1, first: false });
        assert_eq!(old.down(gone(), hour), Unreachable::Known, "one always tries");
        drop(old);
        assert!(enter().await.is_ok());
    }

    #[tokio::test]
    async fn no_memory_without_waits() {
        let gate = RemoteHealth::new();
        let mut turn = gate
            .enter(&remote("a:25"), 2)
            .await
            .unwrap_or_else(|why| panic!("{why:?}"));
        turn.down(gone(), Duration::ZERO);
        drop(turn);
        assert!(gate.enter(&remote("a:25"), 2).await.is_ok());
    }

    #[tokio::test]
    async fn another_limit_changes_nothing_that_is_known() {
        let gate = RemoteHealth::new();
        let mut turn = gate
            .enter(&remote("a:25"), 2)
            .await
            .unwrap_or_else(|why| panic!("{why:?}"));
        turn.down(gone(), Duration::from_secs(3600));
        assert_eq!(gate.enter(&remote("a:25"), 5).await.err(), known());
        assert_eq!(
            gate.standings(),
            HashMap::from([("smtp:a:25".to_owned(), CircuitState::Down)])
        );
        assert!(turn.success().is_some());
        let enter = async || gate.enter(&remote("a:25"), 3).await;
        let all = [enter().await, enter().await];
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(gate.standings(), HashMap::new());
    }

    #[tokio::test]
    async fn unused_remotes_are_forgotten() {
        let gate = RemoteHealth::new();
        let used = gate.enter(&remote("a:25"), 2).await.ok();
        drop(gate.enter(&remote("b:25"), 2).await.ok());
        let mut down = gate
            .enter(&remote("c:25"), 2)
            .await
            .unwrap_or_else(|why| panic!("{why:?}"));
        down.down(gone(), Duration::from_secs(3600));
        drop(down);
        gate.prune();
        let mut left: Vec<String> = gate
            .remotes
            .lock()
            .expect("lock")
            .keys()
            .map(ToString::to_string)
            .collect();
        left.sort();
        assert_eq!(left, ["smtp:a:25", "smtp:c:25"]);
        drop(used);
    }
}
