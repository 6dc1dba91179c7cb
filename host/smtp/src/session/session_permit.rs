//! Who is served: so many for each processor. What a transaction touches has to be in the processors' caches, and of
//! five hundred that come forward a little at a time none is; so the others wait in the order in which they came, new clients
//! before they are greeted, those who are here before MAIL is answered.

use std::num::NonZero;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::stopped;
use host_contract::Transaction;
use host_sync::permit_pool::{Permit, PermitPool};

/// A client that has waited for so long is told to come again. RFC 5321 section 4.5.3.2 has it wait for five minutes.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// The turns of all sessions.
#[derive(Clone)]
pub struct SessionPermits(Arc<PermitPool>);

impl SessionPermits {
    /// So many for each processor.
    pub fn new(each: u32) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let processors = u32::try_from(processors).unwrap_or(u32::MAX);
        Self(PermitPool::new(each.saturating_mul(processors)))
    }

    /// Waits for one, unless this host stops.
    pub(super) async fn take(&self, stop: &mut watch::Receiver<bool>) -> Result<SessionPermit, PermitDenied> {
        tokio::select! {
            biased;
            taken = self.0.acquire(1, MAX_WAIT) => taken.map(|permit| SessionPermit(Some(permit))).map_err(|_| PermitDenied::TooBusy),
            () = stopped(stop) => Err(PermitDenied::Stopping),
        }
    }
}

/// Why a client is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PermitDenied {
    /// It has waited for long enough.
    TooBusy,
    /// This host stops.
    Stopping,
}

/// Ends when it is dropped, or given away.
#[derive(Default)]
pub(super) struct SessionPermit(Option<Permit>);

impl SessionPermit {
    /// It was given away, or there never was one.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_none()
    }

    /// Does what most likely lets this host wait. The turn is given away if others want it and it does: then work goes
    /// on without one. Who is slow keeps nobody from theirs.
    pub(super) async fn release_while<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Some(permit) = &mut self.0 {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = permit.revoked(Instant::now()) => {}
            }
        }
        self.0 = None;
        work.await
    }
}

/// A transaction's policy, and its turn.
pub(super) struct ActiveTransaction {
    pub(super) policy: Box<dyn Transaction>,
    pub(super) permit: SessionPermit,
}

impl ActiveTransaction {
    /// Waits for the peer, who may cost the transaction its turn and its policy's instance.
    pub(super) async fn release_while<T>(&mut self, peer: impl Future<Output = T>) -> T {
        self.permit.release_while(self.policy.release_while(peer)).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn there_are_so_many_and_each_comes_back() {
        let permits = SessionPermits(PermitPool::new(2));
        let (stop, stopping) = watch::channel(false);
        let take = async || permits.take(&mut stopping.clone()).await;
        let held = [take().await, take().await];
        let mut third = Box::pin(take());
        assert!(third.as_mut().now_or_never().is_none());
        drop(held);
        let third = third.await.expect("one came back");
        let _other = take().await.expect("and one more");
        let mut waits = Box::pin(take());
        assert!(waits.as_mut().now_or_never().is_none());
        stop.send_replace(true);
        assert_eq!(waits.await.err(), Some(PermitDenied::Stopping));
        drop(third);
        assert!(take().await.is_ok(), "who need not wait is served to the end");
    }
}
