//! How many deliveries one remote has at once, and which remotes cannot be reached just now.
//!
//! A remote that is gone must not hold everybody up. Two rules see to that: after a failure to
//! connect, its other messages get the same answer for a short while without trying; and who waits
//! for a turn at a remote where nothing has succeeded lately waits a few seconds at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::mail::Reply;

use super::destination::Remote;

/// Longest time a failure to connect is remembered.
const MEMORY: Duration = Duration::from_secs(30);
/// How long to wait for a turn where nothing succeeds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Turns at remotes.
pub(super) struct Gate {
    remotes: Mutex<HashMap<Remote, Arc<Entry>>>,
    patience: Duration,
}

struct Entry {
    limit: usize,
    turns: Arc<Semaphore>,
    news: Mutex<News>,
}

/// What is known of a remote.
struct News {
    /// The answer until then.
    down: Option<(Instant, Reply)>,
    /// When something last succeeded there.
    success: Option<Instant>,
}

/// A turn at a remote; dropping it ends it.
pub(super) struct Turn {
    entry: Arc<Entry>,
    _permit: OwnedSemaphorePermit,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self::with_patience(PATIENCE)
    }

    fn with_patience(patience: Duration) -> Self {
        let remotes = Mutex::default();
        Self { remotes, patience }
    }

    /// Waits for a turn at the remote; or the reply to defer with.
    pub(super) async fn enter(&self, remote: &Remote, limit: usize) -> Result<Turn, Reply> {
        let entry = self.entry(remote, limit.max(1));
        let turns = entry.turns.clone();
        let mut acquire = std::pin::pin!(turns.acquire_owned());
        loop {
            entry.usable()?;
            match timeout(self.patience, acquire.as_mut()).await {
                Ok(Ok(permit)) => {
                    // It may have gone while this one waited.
                    entry.usable()?;
                    return Ok(Turn { entry, _permit: permit });
                }
                Err(_) if entry.succeeded_within(self.patience) => {}
                Ok(Err(_)) | Err(_) => {
                    let text = format!("{} does not answer the deliveries it has", remote.host());
                    return Err(Reply::new(451, (4, 4, 1), text));
                }
            }
        }
    }

    fn entry(&self, remote: &Remote, limit: usize) -> Arc<Entry> {
        let mut remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        match remotes.get(remote) {
            Some(entry) if entry.limit == limit => entry.clone(),
            _ => {
                let entry = Arc::new(Entry {
                    limit,
                    turns: Arc::new(Semaphore::new(limit)),
                    news: Mutex::new(News {
                        down: None,
                        success: None,
                    }),
                });
                remotes.insert(remote.clone(), entry.clone());
                entry
            }
        }
    }

    /// Forgets remotes that nobody uses and nothing is remembered of.
    pub(super) fn prune(&self) {
        let mut remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        remotes.retain(|_, entry| Arc::strong_count(entry) > 1 || entry.usable().is_err());
    }
}

impl Entry {
    fn news(&self) -> std::sync::MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usable(&self) -> Result<(), Reply> {
        match &self.news().down {
            Some((until, reply)) if Instant::now() < *until => Err(reply.clone()),
            _ => Ok(()),
        }
    }

    fn succeeded_within(&self, time: Duration) -> bool {
        self.news().success.is_some_and(|at| at.elapsed() < time)
    }
}

impl Turn {
    /// The remote could not be reached. Remembered for a while, but for less than the shortest wait
    /// for a retry, so that no retry is answered from memory.
    pub(super) fn down(&self, reply: Reply, shortest_wait: Duration) {
        self.entry.news().down = Some((Instant::now() + MEMORY.min(shortest_wait / 2), reply));
    }

    /// The remote took something, or refused it in good order.
    pub(super) fn success(&self) {
        let mut news = self.entry.news();
        news.success = Some(Instant::now());
        news.down = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::destination::Protocol;
    use super::*;

    fn remote(endpoint: &str) -> Remote {
        Remote {
            protocol: Protocol::Smtp,
            endpoint: endpoint.parse().expect("an endpoint"),
        }
    }

    fn gone() -> Reply {
        Reply::new(451, (4, 4, 1), "gone")
    }

    #[tokio::test]
    async fn a_failure_is_remembered_for_its_remote_only() {
        let gate = Gate::new();
        let turn = gate
            .enter(&remote("a:25"), 2)
            .await
            .unwrap_or_else(|reply| panic!("{reply}"));
        turn.down(gone(), Duration::from_secs(3600));
        assert_eq!(gate.enter(&remote("a:25"), 2).await.err(), Some(gone()));
        assert!(gate.enter(&remote("b:25"), 2).await.is_ok());
        turn.success();
        assert!(gate.enter(&remote("a:25"), 2).await.is_ok());
    }

    #[tokio::test]
    async fn who_waited_gets_the_answer_of_who_tried() {
        let gate = Arc::new(Gate::new());
        let turn = gate
            .enter(&remote("a:25"), 1)
            .await
            .unwrap_or_else(|reply| panic!("{reply}"));
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter(&remote("a:25"), 1).await.err() }
        });
        tokio::task::yield_now().await;
        turn.down(gone(), Duration::from_secs(3600));
        drop(turn);
        assert_eq!(waiting.await.expect("no panic"), Some(gone()));
    }

    #[tokio::test]
    async fn patience_ends_where_nothing_succeeds() {
        let gate = Gate::with_patience(Duration::from_millis(20));
        let _turn = gate
            .enter(&remote("a:25"), 1)
            .await
            .unwrap_or_else(|reply| panic!("{reply}"));
        let refused = gate.enter(&remote("a:25"), 1).await.err().expect("no turn");
        assert_eq!(refused.code, 451);
    }

    #[tokio::test]
    async fn no_memory_without_waits() {
        let gate = Gate::new();
        let turn = gate
            .enter(&remote("a:25"), 2)
            .await
            .unwrap_or_else(|reply| panic!("{reply}"));
        turn.down(gone(), Duration::ZERO);
        assert!(gate.enter(&remote("a:25"), 2).await.is_ok());
    }

    #[tokio::test]
    async fn unused_remotes_are_forgotten() {
        let gate = Gate::new();
        let used = gate.enter(&remote("a:25"), 2).await.ok();
        drop(gate.enter(&remote("b:25"), 2).await.ok());
        let down = gate
            .enter(&remote("c:25"), 2)
            .await
            .unwrap_or_else(|reply| panic!("{reply}"));
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
