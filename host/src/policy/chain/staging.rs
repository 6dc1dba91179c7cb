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

use crate::policy::LoadRequest;
use crate::policy::life::activation::Activated;
use crate::policy::life::patience::Patience;
use crate::policy::sandbox::generation::Generation;
use crate::policy::sandbox::window::Tally;
use host_config::Share;
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
pub(in crate::policy) struct Selection {
    pub(in crate::policy) share: Share,
    pub(in crate::policy) clients: Vec<IpNet>,
    /// Another stage takes other sessions.
    pub(in crate::policy) salt: u64,
}

impl Selection {
    /// Always the same for the same name and client.
    pub(super) fn takes(&self, name: impl Hash, client: Option<IpAddr>) -> bool {
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
pub(in crate::policy) struct Staging {
    pub(in crate::policy) module: Arc<str>,
    pub(in crate::policy) generation: Arc<Generation>,
    pub(in crate::policy) selection: Selection,
    pub(in crate::policy) patience: Patience,
    pub(in crate::policy) ends: Instant,
    pub(in crate::policy) until: Timestamp,
    pub(in crate::policy) reason: Option<String>,
}

/// Why a stage has ended.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) enum StageEnd {
    Promoted,
    Cancelled,
    TimeOver,
    Failed(Tally),
    /// Its module got another generation, or left the chain.
    Replaced,
    Stopped,
}

impl StageEnd {
    pub(in crate::policy) fn name(self) -> &'static str {
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
pub(in crate::policy) struct StagedRecord {
    pub(in crate::policy) module: String,
    pub(in crate::policy) activated: Activated,
}

impl Staging {
    pub(in crate::policy) fn told(&self, active: u64) -> Staged {
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
