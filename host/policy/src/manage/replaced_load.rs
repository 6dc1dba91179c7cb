//! A load that a newer configuration replaces: named at the start or the reload at which it goes.

use std::fmt;

use crate::manage::activation_store::Activated;
use crate::manage::changes::Changes;
use host_engine::generation::Generation;
use host_events::Event;
use host_mail::Timestamp;

/// Code or settings that an operator had loaded, and that the configuration replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplacedLoad {
    policy: String,
    /// The generation with the configuration's code and settings.
    generation: u64,
    /// The generation with the loaded code or settings.
    was: u64,
    /// The parts that go.
    lost: Vec<String>,
    by: String,
    since: Timestamp,
}

impl ReplacedLoad {
    /// Compares the last activation with the generation that follows. `None` if nothing loaded goes.
    pub(crate) fn between(was: &Activated, now: &Generation) -> Option<Self> {
        let candidate = &now.candidate;
        let mut lost = Vec::new();
        if was.code_loaded && was.code != candidate.code.digest {
            lost.push(format!("code from {}", was.origin));
        }
        if was.settings_loaded {
            let changes = Changes::of_settings(&was.settings, &candidate.settings);
            lost.extend(changes.settings_in_words().map(|text| format!("settings: {text}")));
        }
        (!lost.is_empty()).then(|| Self {
            policy: candidate.module.to_string(),
            generation: now.number,
            was: was.generation,
            lost,
            by: was.by.clone(),
            since: was.since,
        })
    }

    /// Returns Event 5131.
    pub(crate) fn into_event(self) -> Event {
        Event::PolicyLoadReplaced {
            policy: self.policy,
            generation: self.generation,
            was: self.was,
            lost: self.lost,
            loaded_by: self.by,
        }
    }
}

impl fmt::Display for ReplacedLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "policy {}: the configuration is newer than generation {}, loaded by {} at {}, and replaces it: {}",
            self.policy,
            self.was,
            self.by,
            self.since,
            self.lost.join("; ")
        )
    }
}
