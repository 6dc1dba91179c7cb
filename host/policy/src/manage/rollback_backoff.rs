//! Exponential back-off after automatic rollbacks: a generation that failed a probation is refused for a while. Without
//! the back-off, a message that makes a policy fault (a query of death) could make the host switch back and forth. Part
//! of the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use host_config::Problem;
use host_mail::Timestamp;

const FIRST_DELAY: Duration = Duration::from_secs(60);
const MAX_DELAY: Duration = Duration::from_secs(60 * 60);
/// Time without another rollback after which the back-off starts again at the first delay.
const RESET_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Back-off of generations, by identity.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct RollbackBackoff(BTreeMap<String, Hold>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Hold {
    times: u32,
    until: Timestamp,
}

impl RollbackBackoff {
    /// Counts an automatic rollback and doubles the delay.
    pub(crate) fn add(&mut self, identity: &str, now: Timestamp) {
        self.0.retain(|_, hold| hold.until.after(RESET_AFTER) > now);
        let times = self.0.get(identity).map_or(1, |hold| hold.times.saturating_add(1));
        let delay = FIRST_DELAY.saturating_mul(1 << (times - 1).min(16)).min(MAX_DELAY);
        let until = now.after(delay);
        self.0.insert(identity.to_owned(), Hold { times, until });
    }

    /// Refuses a generation that was rolled back automatically a short while ago, unless `force` is set.
    pub(crate) fn check(&self, identity: &str, force: bool) -> Result<(), Vec<Problem>> {
        match self.until(identity, Timestamp::now()) {
            Some(until) if !force => {
                let text = format!(
                    "this was rolled back because of its faults and is refused until {until}; --force makes it active now"
                );
                Err(vec![Problem::new("", text)])
            }
            _ => Ok(()),
        }
    }

    /// Returns the time until which a generation is refused; `None` if a load is allowed.
    pub(crate) fn until(&self, identity: &str, now: Timestamp) -> Option<Timestamp> {
        self.0.get(identity).map(|hold| hold.until).filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_an_hour_and_expires_after_a_day() {
        let mut backoff = RollbackBackoff::default();
        let mut now = Timestamp(1_000_000);
        let mut waits = Vec::new();
        for _ in 0..8 {
            backoff.add("x", now);
            let until = backoff.until("x", now).expect("refused");
            waits.push(now.until(until).as_secs() / 60);
            now = until;
            assert_eq!(backoff.until("x", now), None);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.add("y", now.after(Duration::from_secs(25 * 60 * 60)));
        assert_eq!(backoff.0.len(), 1);
    }
}
