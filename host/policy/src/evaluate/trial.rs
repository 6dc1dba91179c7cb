//! Trials: what a generation that has yet to prove itself is in. On probation it decides for everyone and the generation
//! before it stands ready; staged, it is a canary that decides for some sessions only.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

use crate::evaluate::fault_budget::FaultBudget;
use host_config::{ProbationConfig, Share};
use host_engine::generation::Generation;
use host_mail::Timestamp;

/// A trial of either kind.
#[derive(Clone)]
pub(crate) enum Trial {
    Probation(Arc<Probation>),
    Staging(Arc<Staging>),
}

impl Trial {
    /// Returns the budget that faults of the trial count against.
    pub(crate) fn fault_budget(&self) -> &FaultBudget {
        match self {
            Self::Probation(probation) => &probation.fault_budget,
            Self::Staging(staging) => &staging.fault_budget,
        }
    }
}

/// The probation of one module's active generation.
pub(crate) struct Probation {
    /// The generation that returns if this one fails. The ledger knows how it was activated.
    pub(crate) previous: Arc<Generation>,
    pub(crate) fault_budget: FaultBudget,
    pub(crate) ends: Instant,
    pub(crate) until: Timestamp,
}

impl Probation {
    /// Begins a probation; `None` if the configuration allows any number of faults.
    pub(crate) fn new(limits: &ProbationConfig, previous: &Arc<Generation>) -> Option<Arc<Self>> {
        let probation = || {
            Arc::new(Self {
                previous: Arc::clone(previous),
                fault_budget: FaultBudget::new(limits),
                ends: Instant::now() + limits.lasts,
                until: Timestamp::now().after(limits.lasts),
            })
        };
        (limits.faults > 0).then(probation)
    }
}

/// A staged candidate.
pub(crate) struct Staging {
    pub(crate) module: Arc<str>,
    pub(crate) generation: Arc<Generation>,
    pub(crate) selection: Selection,
    pub(crate) fault_budget: FaultBudget,
    pub(crate) ends: Instant,
    pub(crate) until: Timestamp,
    pub(crate) reason: Option<String>,
}

/// The sessions that a staged candidate decides for.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) share: Share,
    /// Networks of clients; none selects among all clients.
    pub(crate) clients: Vec<IpNet>,
    /// Differs from stage to stage, so that another stage selects other sessions.
    pub(crate) salt: u64,
}

impl Selection {
    /// True if the session of this name is selected: always the same answer for the same name and client.
    pub(crate) fn takes(&self, name: impl Hash, client: Option<IpAddr>) -> bool {
        let among = |address: IpAddr| self.clients.iter().any(|network| network.contains(&address));
        if !self.clients.is_empty() && !client.is_some_and(among) {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        (self.salt, name).hash(&mut hasher);
        self.share.takes(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(selection: &Selection, client: &str) -> usize {
        let client = client.parse().ok();
        (0..1000).filter(|n| selection.takes(n, client)).count()
    }

    #[test]
    fn selects_a_share_of_the_sessions_of_some_clients() {
        let mut selection = Selection {
            share: Share::percent(30),
            clients: Vec::new(),
            salt: 1,
        };
        assert!((200..400).contains(&takes(&selection, "192.0.2.1")));
        selection.clients.push("192.0.2.0/24".parse().expect("a network"));
        assert!((200..400).contains(&takes(&selection, "192.0.2.1")));
        assert_eq!((takes(&selection, "192.0.3.1"), takes(&selection, "unknown")), (0, 0));
    }
}
