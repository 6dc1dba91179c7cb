//! Schedule of retries.

use std::time::Duration;

use host_mail::Timestamp;

/// Wait before a retry if the configuration has no waits.
const DEFAULT_WAIT: Duration = Duration::from_secs(15 * 60);
/// Maximum fraction that jitter adds to a wait, so that messages that failed together are not all retried at once.
/// Jitter never shortens a wait: the configured waits are lower bounds.
const JITTER: f64 = 0.1;

/// The configured wait after attempt number `attempts`, counted from 1. The last wait repeats.
fn configured(retry: &[Duration], attempts: u32) -> Duration {
    let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    retry.get(index).or(retry.last()).copied().unwrap_or(DEFAULT_WAIT)
}

fn with_jitter(wait: Duration, by: f64) -> Duration {
    wait.mul_f64(1.0 + by.clamp(0.0, JITTER))
}

/// Time of the next attempt after attempt number `attempts`, with jitter. Never after `expires`, so that a message has
/// the last attempt when the delivery time ends, and not a whole wait later.
pub(super) fn next_attempt(retry: &[Duration], attempts: u32, now: Timestamp, expires: Timestamp) -> Timestamp {
    let wait = with_jitter(configured(retry, attempts), rand::random::<f64>() * JITTER);
    now.after(wait).min(expires.max(now))
}

/// Time of the next attempt at a message whose processing faulted. Without jitter.
pub(super) fn after_fault(retry: &[Duration], faults: u32, now: Timestamp) -> Timestamp {
    now.after(configured(retry, faults))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: [Duration; 3] = [
        Duration::from_secs(15),
        Duration::from_secs(30),
        Duration::from_secs(60),
    ];

    #[test]
    fn last_wait_repeats() {
        let waits: Vec<u64> = [1, 2, 3, 4, 100]
            .iter()
            .map(|n| configured(&RETRY, *n).as_secs())
            .collect();
        assert_eq!(waits, [15, 30, 60, 60, 60]);
        assert_eq!(configured(&[], 1), DEFAULT_WAIT);
        assert_eq!(configured(&RETRY, 0).as_secs(), 15);
    }

    #[test]
    fn jitter_only_lengthens_and_is_small() {
        let wait = Duration::from_secs(100);
        assert_eq!(with_jitter(wait, 0.0), wait);
        assert_eq!(with_jitter(wait, 5.0), Duration::from_secs(110));
        for _ in 0..100 {
            let at = next_attempt(&RETRY, 1, Timestamp(0), Timestamp(u64::MAX)).0;
            assert!((15_000..=16_500).contains(&at), "{at}");
        }
    }

    #[test]
    fn last_attempt_is_at_the_end_of_the_delivery_time() {
        assert_eq!(
            next_attempt(&RETRY, 3, Timestamp(0), Timestamp(10_000)),
            Timestamp(10_000)
        );
        assert_eq!(next_attempt(&RETRY, 3, Timestamp(5), Timestamp(1)), Timestamp(5));
    }
}
