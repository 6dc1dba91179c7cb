//! Rate of the mail to a remote: the generic cell rate algorithm (GCRA) for messages and for recipients, slowed down
//! while the remote puts this host off.

use std::time::Duration;

use tokio::time::Instant;

use host_config::HopRate;

/// Time that a rate may be ahead of its schedule, so that a few messages go at once after a pause.
const TOLERANCE: Duration = Duration::from_secs(6);
/// Time without a reply that puts this host off, after which the rate doubles.
const RECOVERY: Duration = Duration::from_secs(60);
/// Largest divisor of the rate.
const MAX_DIVISOR: u32 = 16;

/// Schedule of a remote.
#[derive(Debug)]
pub(super) struct Pace {
    /// Time at which the next message is on schedule.
    messages: Option<Instant>,
    /// Time at which the next recipient is on schedule.
    recipients: Option<Instant>,
    /// Divisor of the rates.
    divisor: u32,
    /// Time of the last change of the divisor.
    changed: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            messages: None,
            recipients: None,
            divisor: 1,
            changed: None,
        }
    }
}

impl Pace {
    /// Counts a transaction and returns the time to wait before it.
    pub(super) fn delay(&mut self, rate: HopRate, recipients: usize, now: Instant) -> Duration {
        self.recover(now);
        let messages = advance(&mut self.messages, rate.messages, 1, self.divisor, now);
        let recipients = advance(&mut self.recipients, rate.recipients, recipients, self.divisor, now);
        messages.max(recipients)
    }

    /// Halves the rate, down to a sixteenth. True if the rate was the configured one.
    pub(super) fn slow_down(&mut self, now: Instant) -> bool {
        self.recover(now);
        let first = self.divisor == 1;
        self.divisor = (self.divisor * 2).min(MAX_DIVISOR);
        self.changed = Some(now);
        first
    }

    /// True while the schedule or the divisor matter.
    pub(super) fn is_remembered(&self, now: Instant) -> bool {
        let ahead = [self.messages, self.recipients].into_iter().flatten();
        ahead.into_iter().any(|next| next > now) || self.changed.is_some_and(|at| now < at + RECOVERY * self.divisor)
    }

    fn recover(&mut self, now: Instant) {
        while let Some(at) = self.changed
            && self.divisor > 1
            && now >= at + RECOVERY
        {
            self.divisor /= 2;
            self.changed = Some(at + RECOVERY);
        }
    }
}

/// Moves a schedule on by `count` and returns the time to wait.
fn advance(schedule: &mut Option<Instant>, rate: Option<u32>, count: usize, divisor: u32, now: Instant) -> Duration {
    let Some(rate) = rate else {
        return Duration::ZERO;
    };
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let interval = Duration::from_secs(60) * divisor / rate.max(1);
    let start = schedule.unwrap_or(now).max(now);
    *schedule = start.checked_add(interval.saturating_mul(count));
    start.saturating_duration_since(now + TOLERANCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(messages: u32, recipients: u32) -> HopRate {
        HopRate {
            messages: Some(messages),
            recipients: Some(recipients),
        }
    }

    #[test]
    fn spreads_messages_and_recipients() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let delays: Vec<u64> = (0..4).map(|_| pace.delay(rate(6, 600), 1, now).as_secs()).collect();
        assert_eq!(delays, [0, 4, 14, 24]);
        let mut pace = Pace::default();
        let delays: Vec<u64> = (0..3).map(|_| pace.delay(rate(600, 60), 30, now).as_secs()).collect();
        assert_eq!(delays, [0, 24, 54]);
        assert_eq!(Pace::default().delay(HopRate::default(), 100, now), Duration::ZERO);
    }

    #[test]
    fn slows_down_and_recovers() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!(pace.slow_down(now));
        assert!(!pace.slow_down(now));
        assert_eq!(pace.divisor, 4);
        pace.delay(rate(6, 600), 1, now);
        assert_eq!(pace.delay(rate(6, 600), 1, now).as_secs(), 34);
        assert!(pace.is_remembered(now + RECOVERY));
        assert!(!pace.slow_down(now + RECOVERY), "half of it is left");
        assert!(pace.slow_down(now + RECOVERY * 4));
        assert!(!pace.is_remembered(now + RECOVERY * 20));
    }
}
