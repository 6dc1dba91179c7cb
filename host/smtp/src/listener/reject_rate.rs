//! How often a client is refused while there is no room. A refusal is a connection made, a line and an end: some tens of
//! microseconds that those who have a place would have had. Beyond so many a second new clients stay with the kernel,
//! which keeps a bounded number of them waiting and then lets them knock again, at next to no cost, until there is room or their
//! refusal's time has come.

use std::time::Duration;

use tokio::time::Instant;

/// A moment, and what it has room for: 500 refusals a second.
const MOMENT: Duration = Duration::from_millis(10);
const AT_MOST: u32 = 5;

/// The refusals of one listener.
pub(super) struct RejectRate {
    began: Instant,
    count: u32,
}

impl RejectRate {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, count: 0 }
    }

    /// There was another one.
    pub(super) fn count(&mut self, now: Instant) {
        if now >= self.began + MOMENT {
            *self = Self::new(now);
        }
        self.count += 1;
    }

    /// Until when nobody is to be refused, if there were enough for now.
    pub(super) fn rest(&self, now: Instant) -> Option<Instant> {
        let end = self.began + MOMENT;
        (self.count >= AT_MOST && now < end).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_then_it_rests() {
        let start = Instant::now();
        let mut refusals = RejectRate::new(start);
        for _ in 1..AT_MOST {
            refusals.count(start);
        }
        assert_eq!(refusals.rest(start), None);
        refusals.count(start);
        assert_eq!(refusals.rest(start), Some(start + MOMENT));
        assert_eq!(refusals.rest(start + MOMENT), None);
        refusals.count(start + MOMENT);
        assert_eq!(refusals.rest(start + MOMENT), None);
    }
}
