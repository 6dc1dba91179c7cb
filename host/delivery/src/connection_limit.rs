//! AIMD limit on the connections to a remote: additive increase on success, decrease on refusal.
//!
//! A remote starts at 2 connections and gains a connection with each accepted message, up to the configured limit. A
//! remote that refuses a connection while accepting mail on others loses a connection for each refusal. After a
//! cooldown of a minute without refusals the limit grows again, by 1 for each round of accepted messages.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Connections to a remote before the first accepted message.
const INITIAL_LIMIT: usize = 2;
/// Time after a refusal during which the limit does not grow.
const COOLDOWN: Duration = Duration::from_secs(60);

/// Limit on the connections to a remote.
pub(super) struct RemoteConnectionLimiter {
    configured: usize,
    /// Current limit: at least 1, at most `configured`.
    allowed: usize,
    semaphore: Arc<Semaphore>,
    /// Time of the last refusal; `None` once the configured limit is reached.
    last_refusal: Option<Instant>,
    /// Messages accepted since the limit changed, not counting the cooldown.
    successes: usize,
}

impl RemoteConnectionLimiter {
    pub(super) fn new(configured: usize) -> Self {
        let allowed = configured.min(INITIAL_LIMIT);
        Self {
            configured,
            allowed,
            semaphore: Arc::new(Semaphore::new(allowed)),
            last_refusal: None,
            successes: 0,
        }
    }

    /// Returns the semaphore that hands out permits. A changed `configured` starts a new limit and a new semaphore;
    /// permits of the old semaphore stay valid until dropped.
    pub(super) fn semaphore(&mut self, configured: usize) -> Arc<Semaphore> {
        if self.configured != configured {
            *self = Self::new(configured);
        }
        Arc::clone(&self.semaphore)
    }

    /// Reduces the limit by 1, consuming `permit`, and returns the new limit. Returns the permit instead if the limit
    /// is 1 already, or if the permit belongs to an older configuration.
    pub(super) fn reduce(&mut self, permit: OwnedSemaphorePermit, now: Instant) -> Result<usize, OwnedSemaphorePermit> {
        if self.allowed == 1 || !Arc::ptr_eq(permit.semaphore(), &self.semaphore) {
            return Err(permit);
        }
        permit.forget();
        self.allowed -= 1;
        self.last_refusal = Some(now);
        self.successes = 0;
        Ok(self.allowed)
    }

    /// Counts an accepted message, which may raise the limit.
    pub(super) fn record_success(&mut self, now: Instant) {
        if self.allowed == self.configured || self.in_cooldown(now) {
            return;
        }
        self.successes += 1;
        if self.last_refusal.is_none() || self.successes >= self.allowed {
            self.successes = 0;
            self.allowed += 1;
            self.semaphore.add_permits(1);
        }
        if self.allowed == self.configured {
            self.last_refusal = None;
        }
    }

    /// Returns the current limit.
    pub(super) fn allowed(&self) -> usize {
        self.allowed
    }

    /// True if a connection was refused within the cooldown.
    pub(super) fn in_cooldown(&self, now: Instant) -> bool {
        self.last_refusal.is_some_and(|refused| now < refused + COOLDOWN)
    }

    /// True if a connection was refused since the limit last had the configured value.
    pub(super) fn is_reduced(&self) -> bool {
        self.last_refusal.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(limiter: &mut RemoteConnectionLimiter, configured: usize) -> OwnedSemaphorePermit {
        limiter.semaphore(configured).try_acquire_owned().expect("a permit")
    }

    /// Raises the limit to `configured` and takes every permit.
    fn take_all(limiter: &mut RemoteConnectionLimiter, configured: usize) -> Vec<OwnedSemaphorePermit> {
        for _ in INITIAL_LIMIT..configured {
            limiter.record_success(Instant::now());
        }
        (0..configured).map(|_| take(limiter, configured)).collect()
    }

    #[test]
    fn unknown_remote_starts_with_few_connections() {
        let mut limiter = RemoteConnectionLimiter::new(4);
        let counts = (0..4).map(|_| {
            let free = limiter.semaphore.available_permits();
            limiter.record_success(Instant::now());
            free
        });
        assert_eq!(counts.collect::<Vec<_>>(), [2, 3, 4, 4]);
        assert_eq!(RemoteConnectionLimiter::new(1).semaphore.available_permits(), 1);
    }

    #[test]
    fn refusal_reduces_the_limit_but_keeps_the_last_connection() {
        let (mut limiter, now) = (RemoteConnectionLimiter::new(3), Instant::now());
        let mut permits = take_all(&mut limiter, 3);
        for left in [2, 1] {
            let permit = permits.pop().expect("one of three");
            assert_eq!(limiter.reduce(permit, now).ok(), Some(left));
        }
        assert!(
            limiter.semaphore(3).try_acquire_owned().is_err(),
            "consumed permits are gone"
        );
        let last = permits.pop().expect("one of three");
        drop(limiter.reduce(last, now).expect_err("the last"));
        drop(take(&mut limiter, 3));
    }

    #[test]
    fn limit_grows_again_after_the_cooldown() {
        let (mut limiter, now) = (RemoteConnectionLimiter::new(4), Instant::now());
        for permit in take_all(&mut limiter, 4).drain(..2) {
            assert!(limiter.reduce(permit, now).is_ok());
        }
        limiter.record_success(now + COOLDOWN / 2);
        assert!(limiter.is_reduced());
        let later = now + COOLDOWN;
        let counts = (0..6).map(|_| {
            limiter.record_success(later);
            limiter.allowed
        });
        assert_eq!(counts.collect::<Vec<_>>(), [2, 3, 3, 3, 4, 4]);
        assert!(!limiter.is_reduced());
    }

    #[test]
    fn changed_configuration_starts_a_new_limit() {
        let (mut limiter, now) = (RemoteConnectionLimiter::new(2), Instant::now());
        let old = take(&mut limiter, 2);
        let new = take(&mut limiter, 3);
        assert!(limiter.reduce(old, now).is_err(), "the permit is of the old limit");
        drop(new);
        assert_eq!(limiter.semaphore.available_permits(), 2);
    }
}
