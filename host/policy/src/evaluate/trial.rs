//! Trials of new generations. On probation a generation decides for all sessions and the previous generation is kept
//! for a rollback; a staged generation is a canary for a share of the sessions. Started and ended by `manage`, read by
//! evaluations.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Returns the fault budget of the trial.
    pub(crate) fn fault_budget(&self) -> &FaultBudget {
        match self {
            Self::Probation(probation) => &probation.fault_budget,
            Self::Staging(staging) => &staging.fault_budget,
        }
    }
}

/// The probation of a module's active generation.
pub(crate) struct Probation {
    /// The generation that a rollback restores.
    pub(crate) previous: Arc<Generation>,
    /// False once the code of the previous generation has no accepted signature: it is not asked then.
    pub(crate) is_trusted: AtomicBool,
    pub(crate) fault_budget: FaultBudget,
    /// End on the monotonic clock.
    pub(crate) ends: Instant,
    /// End on the wall clock, for status.
    pub(crate) until: Timestamp,
    /// The unfinished probation of the previous generation, which continues if the previous generation is restored.
    pub(crate) resumes: Option<Arc<Self>>,
}

impl Probation {
    /// Returns the generation to ask in place of the one on probation; `None` without an accepted signature.
    pub(crate) fn fallback(&self) -> Option<&Arc<Generation>> {
        self.is_trusted.load(Ordering::Relaxed).then_some(&self.previous)
    }

    /// Begins a probation of `limits.lasts`; `None` if the configuration allows any number of faults.
    pub(crate) fn new(
        limits: &ProbationConfig,
        previous: &Arc<Generation>,
        resumes: Option<Arc<Self>>,
    ) -> Option<Arc<Self>> {
        let probation = || {
            Arc::new(Self {
                previous: Arc::clone(previous),
                is_trusted: AtomicBool::new(true),
                fault_budget: FaultBudget::new(limits),
                ends: Instant::now() + limits.lasts,
                until: Timestamp::now().after(limits.lasts),
                resumes,
            })
        };
        (limits.faults > 0).then(probation)
    }

    /// Returns this probation as it continues later: without a probation of the previous generation, so that few
    /// generations are kept.
    pub(crate) fn suspended(&self) -> Arc<Self> {
        Arc::new(Self {
            previous: Arc::clone(&self.previous),
            is_trusted: AtomicBool::new(self.is_trusted.load(Ordering::Relaxed)),
            fault_budget: self.fault_budget.renewed(),
            ends: self.ends,
            until: self.until,
            resumes: None,
        })
    }
}

/// A staged candidate and the terms of the stage.
pub(crate) struct Staging {
    pub(crate) module: Arc<str>,
    pub(crate) generation: Arc<Generation>,
    pub(crate) selection: Selection,
    pub(crate) fault_budget: FaultBudget,
    pub(crate) ends: Instant,
    pub(crate) until: Timestamp,
    pub(crate) reason: Option<String>,
}

/// The selection of sessions for a staged candidate.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) share: Share,
    /// Networks of the selected clients; empty selects every client.
    pub(crate) clients: Vec<IpNet>,
    /// Salt of the hash, so that each stage selects other sessions.
    pub(crate) salt: u64,
}

impl Selection {
    /// True if a session is selected. The result is stable for the same name and client.
    pub(crate) fn selects(&self, name: impl Hash, client: Option<IpAddr>) -> bool {
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

    fn selected(selection: &Selection, client: &str) -> usize {
        let client = client.parse().ok();
        (0..1000).filter(|n| selection.selects(n, client)).count()
    }

    #[test]
    fn selects_a_share_of_the_sessions_of_some_clients() {
        let mut selection = Selection {
            share: Share::percent(30),
            clients: Vec::new(),
            salt: 1,
        };
        assert!((200..400).contains(&selected(&selection, "192.0.2.1")));
        selection.clients.push("192.0.2.0/24".parse().expect("a network"));
        assert!((200..400).contains(&selected(&selection, "192.0.2.1")));
        assert_eq!(
            (selected(&selection, "192.0.3.1"), selected(&selection, "unknown")),
            (0, 0)
        );
    }
}
