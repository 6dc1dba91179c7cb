//! What was rolled back by itself is not loaded again at once. Somebody who can make a policy fault
//! (a query of death) could otherwise have the host change back and forth for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use host_config::Problem;
use host_mail::Timestamp;

const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// After so long without another rollback it is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(24 * 60 * 60);

/// Generations that are held back, by identity.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct RollbackBackoff(BTreeMap<String, Hold>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Hold {
    times: u32,
    until: Timestamp,
}

impl RollbackBackoff {
    /// It was rolled back once more.
    pub(crate) fn add(&mut self, identity: &str, now: Timestamp) {
        self.0.retain(|_, hold| hold.until.after(FORGOTTEN) > now);
        let times = self.0.get(identity).map_or(1, |hold| hold.times.saturating_add(1));
        let wait = FIRST.saturating_mul(1 << (times - 1).min(16)).min(LONGEST);
        let until = now.after(wait);
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

    /// Until when it is refused; none if it is not.
    pub(crate) fn until(&self, identity: &str, now: Timestamp) -> Option<Timestamp> {
        self.0.get(identity).map(|hold| hold.until).filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_an_hour_and_is_forgotten_after_a_day() {
        let mut held = RollbackBackoff::default();
        let mut now = Timestamp(1_000_000);
        let mut waits = Vec::new();
        for _ in 0..8 {
            held.add("x", now);
            let until = held.until("x", now).expect("held");
            waits.push(now.until(until).as_secs() / 60);
            now = until;
            assert_eq!(held.until("x", now), None);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        held.add("y", now.after(Duration::from_secs(25 * 60 * 60)));
        assert_eq!(held.0.len(), 1);
    }
}
