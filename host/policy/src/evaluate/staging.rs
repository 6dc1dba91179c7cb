//! Staging: a candidate decides for some sessions, and the active generation for all others.
//!
//! One candidate for the whole chain at a time. A stage ends by itself, and is not durable: after a
//! restart the active generation decides for everybody, and Event 5046 says so.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::LoadRequest;
use crate::evaluate::fault_budget::FaultBudget;
use crate::manage::activation_store::Activated;
use host_config::Share;
use host_engine::generation::Generation;
use host_engine::sliding_window::Tally;
use host_mail::Timestamp;

/// What to stage.
#[derive(Debug, Clone)]
pub struct StageRequest {
    /// The candidate.
    pub load: LoadRequest,
    /// Of the sessions; of the clients' sessions, if there are clients.
    pub share: Share,
    /// Whose sessions; none are everybody's.
    pub clients: Vec<IpNet>,
    /// When the stage ends by itself.
    pub lasts: Duration,
    /// Why, for the event.
    pub reason: Option<String>,
}

/// What was staged.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct Staged {
    pub module: String,
    pub version: String,
    pub digest: String,
    pub generation: u64,
    /// The one that decides for all others.
    pub active: u64,
    pub share: Share,
    pub clients: Vec<IpNet>,
    pub until: Timestamp,
}

/// For whom a candidate decides.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) share: Share,
    pub(crate) clients: Vec<IpNet>,
    /// Another stage takes other sessions.
    pub(crate) salt: u64,
}

impl Selection {
    /// Always the same for the same name and client.
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

/// The candidate that is staged.
pub(crate) struct Staging {
    pub(crate) module: Arc<str>,
    pub(crate) generation: Arc<Generation>,
    pub(crate) selection: Selection,
    pub(crate) fault_budget: FaultBudget,
    pub(crate) ends: Instant,
    pub(crate) until: Timestamp,
    pub(crate) reason: Option<String>,
}

/// Why a stage has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StageEnd {
    Promoted,
    Cancelled,
    TimeOver,
    Failed(Tally),
    /// Its module got another generation, or left the chain.
    Replaced,
    Stopped,
}

impl StageEnd {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::Cancelled => "cancelled",
            Self::TimeOver => "time-over",
            Self::Failed(_) => "faults",
            Self::Replaced => "replaced",
            Self::Stopped => "stopped",
        }
    }
}

/// What was staged, on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct StagedRecord {
    pub(crate) module: String,
    pub(crate) activated: Activated,
}

impl Staging {
    pub(crate) fn told(&self, active: u64) -> Staged {
        Staged {
            module: self.module.to_string(),
            version: self.generation.description.version.clone(),
            digest: self.generation.candidate.code.digest.clone(),
            generation: self.generation.number,
            active,
            share: self.selection.share,
            clients: self.selection.clients.clone(),
            until: self.until,
        }
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
    fn a_share_of_some_clients_sessions_is_taken() {
        let mut selection = Selection {
            share: Share::percent(30),
            clients: Vec::new(),
            salt: 1,
        };
        assert!((200..400).contains(&takes(&selection, "192.0.2.1")));
        selection.clients.push("192.0.2.0/24".parse().expect("a network"));
        assert!((200..400).contains(&takes(&selection, "192.0.2.1")));
        assert_eq!((takes(&selection, "192.0.3.1"), takes(&selection, "nobody")), (0, 0));
    }
}
