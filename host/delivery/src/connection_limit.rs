//! How many connections one remote is asked for: as many as are configured, or as it gives.
//!
//! A remote that has taken nothing yet is asked for few, and with each message that it takes for one more. One that
//! refuses a connection while it takes mail on others has said how many it gives: each refusal takes one away, and after
//! a respite they come back, one for each round of messages that it takes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Connections to a remote of which nothing is known.
const FIRST: usize = 2;
/// So long after a refusal no further connection is asked for.
const COOLDOWN: Duration = Duration::from_secs(60);

pub(super) struct ConnectionLimiter {
    configured: usize,
    /// At most as configured, and never none.
    allowed: usize,
    semaphore: Arc<Semaphore>,
    /// Since there were as many as are configured.
    refused: Option<Instant>,
    /// Messages taken since the number changed, and after the respite.
    taken: usize,
}

impl ConnectionLimiter {
    pub(super) fn new(configured: usize) -> Self {
        let allowed = configured.min(FIRST);
        Self {
            configured,
            allowed,
            semaphore: Arc::new(Semaphore::new(allowed)),
            refused: None,
            taken: 0,
        }
    }

    /// Where to wait for one. Another number than before has new turns; the old ones end as they are given back.
    pub(super) fn of(&mut self, configured: usize) -> Arc<Semaphore> {
        if self.configured != configured {
            *self = Self::new(configured);
        }
        Arc::clone(&self.semaphore)
    }

    /// Takes this turn out of those that there are, and says how many are left. The last one, and one of an older
    /// configuration, is given back instead.
    pub(super) fn give_up(&mut self, turn: OwnedSemaphorePermit, now: Instant) -> Result<usize, OwnedSemaphorePermit> {
        if self.allowed == 1 || !Arc::ptr_eq(turn.semaphore(), &self.semaphore) {
            return Err(turn);
        }
        turn.forget();
        self.allowed -= 1;
        self.refused = Some(now);
        self.taken = 0;
        Ok(self.allowed)
    }

    /// The remote took a message.
    pub(super) fn taken(&mut self, now: Instant) {
        if self.allowed == self.configured || self.in_cooldown(now) {
            return;
        }
        self.taken += 1;
        if self.refused.is_none() || self.taken >= self.allowed {
            self.taken = 0;
            self.allowed += 1;
            self.semaphore.add_permits(1);
        }
        if self.allowed == self.configured {
            self.refused = None;
        }
    }

    /// Whether a connection was refused not long ago.
    pub(super) fn in_cooldown(&self, now: Instant) -> bool {
        self.refused.is_some_and(|refused| now < refused + COOLDOWN)
    }

    /// Whether one was refused since there were as many as are configured.
    pub(super) fn is_reduced(&self) -> bool {
        self.refused.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(turns: &mut ConnectionLimiter, configured: usize) -> OwnedSemaphorePermit {
        turns.of(configured).try_acquire_owned().expect("a turn")
    }

    /// As many as are configured, each of them taken.
    fn all(turns: &mut ConnectionLimiter, configured: usize) -> Vec<OwnedSemaphorePermit> {
        for _ in FIRST..configured {
            turns.taken(Instant::now());
        }
        (0..configured).map(|_| take(turns, configured)).collect()
    }

    #[test]
    fn who_is_not_known_is_asked_for_few() {
        let mut turns = ConnectionLimiter::new(4);
        let counts = (0..4).map(|_| {
            let free = turns.semaphore.available_permits();
            turns.taken(Instant::now());
            free
        });
        assert_eq!(counts.collect::<Vec<_>>(), [2, 3, 4, 4]);
        assert_eq!(ConnectionLimiter::new(1).semaphore.available_permits(), 1);
    }

    #[test]
    fn a_refusal_takes_one_away_but_never_the_last() {
        let (mut turns, now) = (ConnectionLimiter::new(3), Instant::now());
        let mut all = all(&mut turns, 3);
        for left in [2, 1] {
            let turn = all.pop().expect("one of three");
            assert_eq!(turns.give_up(turn, now).ok(), Some(left));
        }
        assert!(turns.of(3).try_acquire_owned().is_err(), "what was given up is gone");
        let last = all.pop().expect("one of three");
        drop(turns.give_up(last, now).expect_err("the last"));
        drop(take(&mut turns, 3));
    }

    #[test]
    fn they_come_back_after_a_respite_while_mail_is_taken() {
        let (mut turns, now) = (ConnectionLimiter::new(4), Instant::now());
        for turn in all(&mut turns, 4).drain(..2) {
            assert!(turns.give_up(turn, now).is_ok());
        }
        turns.taken(now + COOLDOWN / 2);
        assert!(turns.is_reduced());
        let later = now + COOLDOWN;
        let counts = (0..6).map(|_| {
            turns.taken(later);
            turns.allowed
        });
        assert_eq!(counts.collect::<Vec<_>>(), [2, 3, 3, 3, 4, 4]);
        assert!(!turns.is_reduced());
    }

    #[test]
    fn another_configuration_begins_anew() {
        let (mut turns, now) = (ConnectionLimiter::new(2), Instant::now());
        let old = take(&mut turns, 2);
        let new = take(&mut turns, 3);
        assert!(turns.give_up(old, now).is_err(), "it is none of these");
        drop(new);
        assert_eq!(turns.semaphore.available_permits(), 2);
    }
}
