//! The concurrency limit of sessions: a fair pool with a fixed number of permits for each processor.
//!
//! A transaction's data has to stay in the processors' caches, which fails if hundreds of transactions advance in small
//! steps. Others wait in the order of arrival: new clients before the greeting, connected clients before the reply to
//! MAIL.

use std::num::NonZero;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::shutdown::stopped;
use host_sync::permit_pool::{Permit, PermitPool};

/// Maximum wait for a permit; afterwards the client is asked to try again later. Clients wait for five minutes (RFC
/// 5321 section 4.5.3.2).
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Pool of the permits of all sessions. A clone shares the pool.
#[derive(Clone)]
pub struct SessionPermits(Arc<PermitPool>);

impl SessionPermits {
    /// Creates a pool with `per_processor` permits for each processor.
    pub fn new(per_processor: u32) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let processors = u32::try_from(processors).unwrap_or(u32::MAX);
        Self(PermitPool::new(per_processor.saturating_mul(processors)))
    }

    /// Waits for a permit, at most 30 seconds. Fails at once when the host stops, unless a permit is free.
    pub(super) async fn acquire(&self, stop: &mut watch::Receiver<bool>) -> Result<SessionPermit, PermitDenied> {
        tokio::select! {
            biased;
            acquired = self.0.acquire(1, MAX_WAIT) => {
                acquired.map(|permit| SessionPermit(Some(permit))).map_err(|_| PermitDenied::TooBusy)
            }
            () = stopped(stop) => Err(PermitDenied::Stopping),
        }
    }
}

/// Reason for which no permit was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PermitDenied {
    /// Maximum wait has passed.
    TooBusy,
    /// Host is shutting down.
    Stopping,
}

/// A permit to work. Released on drop, or by [`Self::release_while`]; the default value is a released permit.
#[derive(Default)]
pub(super) struct SessionPermit(Option<Permit>);

impl SessionPermit {
    /// True if the permit was released, or never granted.
    pub(super) fn is_released(&self) -> bool {
        self.0.is_none()
    }

    /// Runs `work`, which may block on the peer or the network. While `work` blocks and other sessions wait, the permit
    /// is released and `work` continues without a permit, so that a slow client does not delay other clients.
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn permits_are_limited_and_return_on_drop() {
        let permits = SessionPermits(PermitPool::new(2));
        let (stop, stopping) = watch::channel(false);
        let acquire = async || permits.acquire(&mut stopping.clone()).await;
        let held = [acquire().await, acquire().await];
        let mut third = Box::pin(acquire());
        assert!(third.as_mut().now_or_never().is_none());
        drop(held);
        let third = third.await.expect("one came back");
        let _other = acquire().await.expect("and one more");
        let mut waiting = Box::pin(acquire());
        assert!(waiting.as_mut().now_or_never().is_none());
        stop.send_replace(true);
        assert_eq!(waiting.await.err(), Some(PermitDenied::Stopping));
        drop(third);
        assert!(
            acquire().await.is_ok(),
            "a free permit is granted even during a shutdown"
        );
    }
}
