//! Who may have a transaction under way: so many for each processor. What each of them touches has to be in the processors'
//! caches, and of five hundred that come forward a little at a time none is; so the others wait before MAIL is
//! answered, in the order in which they came.

use std::num::NonZero;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::policy::PolicyTransaction;
use crate::slots::{Overload, Pool, Slots};

/// A client that has waited for so long is told to come again.
const PATIENCE: Duration = Duration::from_secs(30);

/// The turns of all sessions.
#[derive(Clone)]
pub struct Turns(Arc<Pool>);

impl Turns {
    /// So many transactions for each processor.
    pub fn new(each: u32) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let processors = u32::try_from(processors).unwrap_or(u32::MAX);
        Self(Pool::new(each.saturating_mul(processors)))
    }

    /// Waits for one.
    pub(super) async fn take(&self) -> Result<Turn, Overload> {
        self.0.take(1, PATIENCE).await.map(|slots| Turn(Some(slots)))
    }
}

/// Ends when it is dropped, or given away.
pub(super) struct Turn(Option<Slots>);

impl Turn {
    /// None yet.
    pub(super) const NONE: Self = Self(None);
}

/// A transaction's policy, and its turn.
pub(super) struct UnderWay {
    pub(super) policy: PolicyTransaction,
    pub(super) turn: Turn,
}

impl UnderWay {
    /// Waits for the peer. The turn is given away if others want it and the peer lets this host wait: then the transaction
    /// goes on without one. Who is slow keeps nobody from theirs.
    pub(super) async fn meanwhile<T>(&mut self, peer: impl Future<Output = T>) -> T {
        let mut peer = pin!(self.policy.meanwhile(peer));
        if let Some(turn) = &mut self.turn.0 {
            tokio::select! {
                biased;
                done = &mut peer => return done,
                () = turn.wanted(Instant::now()) => {}
            }
        }
        self.turn.0 = None;
        peer.await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn there_are_so_many_and_each_comes_back() {
        let turns = Turns(Pool::new(2));
        let held = [turns.take().await, turns.take().await];
        let mut third = Box::pin(turns.take());
        assert!(third.as_mut().now_or_never().is_none());
        drop(held);
        assert!(third.await.is_ok());
    }
}
