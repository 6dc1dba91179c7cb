//! The history of activations: which generations a module had, who activated each, and why. Bounded; stored in the
//! ledger of `activation_store`, read by rollbacks and by the `history` command.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use host_mail::Timestamp;

/// Maximum number of activations remembered of each module.
const MAX_ACTIVATIONS: usize = 50;
/// Maximum number of different components of each module with stored code.
const MAX_CODES: usize = 10;
/// Maximum length of a reason, in bytes.
const MAX_REASON: usize = 1_000;

/// The operation that activated a generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// The host was started.
    Start,
    /// An operator loaded code or settings.
    Load,
    /// The configuration was reloaded.
    Reload,
    /// An operator rolled back.
    Rollback,
    /// A file was moved into the watched folder.
    Watch,
    /// A staged candidate was promoted.
    Promote,
    /// The next generation failed the probation.
    Probation,
    /// Written by a release that did not record the operation, or that knew more operations than this release.
    #[default]
    #[serde(other)]
    Unknown,
}

impl How {
    /// Returns the name used in events and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Load => "load",
            Self::Reload => "reload",
            Self::Rollback => "rollback",
            Self::Watch => "watch",
            Self::Promote => "promote",
            Self::Probation => "probation",
            Self::Unknown => "unknown",
        }
    }
}

/// Operation, actor and reason of an activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) how: How,
    /// Actor: the operator, or the name of the automatic operation.
    pub(crate) by: String,
    /// Reason in the operator's words; may be empty.
    pub(crate) why: String,
}

impl Cause {
    pub(crate) fn new(how: How, by: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            how,
            by: by.into(),
            why: host_mail::cut(why.into(), MAX_REASON),
        }
    }

    /// Returns the cause of an automatic operation of the host.
    pub(crate) fn automatic(how: How) -> Self {
        Self::new(how, how.name(), "")
    }
}

/// An activation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Past {
    /// Number of the generation, never reused.
    pub generation: u64,
    /// SHA-256 of the code, hexadecimal.
    pub digest: String,
    /// Version from the policy's description.
    #[serde(default)]
    pub version: String,
    /// Settings of the generation.
    pub settings: Map<String, Value>,
    /// Origin of the code, such as a path.
    pub origin: String,
    /// Time of the activation.
    pub since: Timestamp,
    /// Actor.
    pub by: String,
    /// The operation.
    #[serde(default)]
    pub how: How,
    /// Reason in the operator's words.
    #[serde(default)]
    pub why: String,
    /// The generation that a rollback restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<u64>,
}

/// The activations of a module, newest last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct History(Vec<Past>);

impl History {
    /// Adds an activation. A generation that runs again after a restart is added only once; a generation restored by a
    /// failed probation is added again.
    pub(crate) fn record(&mut self, past: Past) {
        if past.how != How::Probation && self.find(past.generation).is_some() {
            return;
        }
        self.0.push(past);
        let surplus = self.0.len().saturating_sub(MAX_ACTIVATIONS);
        self.0.drain(..surplus);
    }

    /// Returns the first activation of a generation.
    pub(crate) fn find(&self, generation: u64) -> Option<&Past> {
        self.0.iter().find(|past| past.generation == generation)
    }

    /// True if the newest activation has this code and these settings.
    pub(crate) fn ends_with(&self, digest: &str, settings: &Map<String, Value>) -> bool {
        let newest = self.0.last();
        newest.is_some_and(|past| past.digest == digest && past.settings == *settings)
    }

    /// Returns the activations, newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Past> {
        self.0.iter().rev()
    }

    /// Returns the digests of the newest components, which remain stored.
    pub(crate) fn kept_digests(&self) -> BTreeSet<&str> {
        let mut codes = BTreeSet::new();
        for past in self.newest_first() {
            if codes.len() == MAX_CODES {
                break;
            }
            codes.insert(past.digest.as_str());
        }
        codes
    }

    /// Returns the target of a rollback from `generation`: the last earlier activation with other code or other
    /// settings. A generation that is the result of a rollback counts from the generation that was restored, so that
    /// two rollbacks undo two loads.
    pub(crate) fn rollback_target(&self, generation: u64) -> Option<&Past> {
        let mut index = self.0.iter().position(|past| past.generation == generation)?;
        let active = self.0.get(index)?;
        // Each step leads to a smaller index, so the loop ends.
        while let Some(origin) = self.0.get(index).and_then(|past| past.back_to)
            && let Some(older) = self.0[..index].iter().position(|past| past.generation == origin)
        {
            index = older;
        }
        let differs = |past: &&Past| past.digest != active.digest || past.settings != active.settings;
        self.0[..index].iter().rev().find(differs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(generation: u64, digest: &str, back_to: Option<u64>) -> Past {
        Past {
            generation,
            digest: digest.to_owned(),
            version: "1".to_owned(),
            settings: Map::new(),
            origin: "here".to_owned(),
            since: Timestamp(generation),
            by: "me".to_owned(),
            how: How::Load,
            why: String::new(),
            back_to,
        }
    }

    fn history(pasts: &[(u64, &str, Option<u64>)]) -> History {
        let mut history = History::default();
        for (generation, digest, back_to) in pasts {
            history.record(past(*generation, digest, *back_to));
        }
        history
    }

    fn target(history: &History, generation: u64) -> Option<u64> {
        history.rollback_target(generation).map(|past| past.generation)
    }

    #[test]
    fn second_rollback_goes_further_back() {
        let history = history(&[
            (1, "a", None),
            (2, "b", None),
            (3, "c", None),
            (4, "b", Some(2)),
            (5, "a", Some(1)),
            (6, "d", None),
        ]);
        assert_eq!(target(&history, 3), Some(2));
        assert_eq!(target(&history, 4), Some(1));
        assert_eq!(target(&history, 5), None);
        assert_eq!(target(&history, 6), Some(5));
        assert_eq!(target(&history, 7), None);
    }

    #[test]
    fn rollback_skips_identical_generations() {
        let mut history = history(&[(1, "a", None), (2, "b", None), (3, "b", None)]);
        assert_eq!(target(&history, 3), Some(1));
        let mut other = past(4, "b", None);
        other.settings.insert("x".to_owned(), Value::Null);
        history.record(other);
        assert_eq!(target(&history, 4), Some(3));
    }

    #[test]
    fn keeps_only_the_newest_activations() {
        let mut history = History::default();
        for generation in 1..=80 {
            history.record(past(generation, &format!("{:02}", generation / 2), None));
            history.record(past(generation, "again", None));
        }
        assert_eq!(history.newest_first().count(), MAX_ACTIVATIONS);
        assert_eq!(history.newest_first().next().map(|past| past.generation), Some(80));
        assert_eq!(history.find(30), None);
        let codes = history.kept_digests();
        assert_eq!(codes.len(), MAX_CODES);
        assert!(codes.contains("40") && codes.contains("31") && !codes.contains("30") && !codes.contains("again"));
    }

    #[test]
    fn reads_entries_of_a_later_release() {
        let mut value = serde_json::to_value(past(1, "a", None)).expect("JSON");
        assert_eq!(value["how"], "load");
        value["how"] = "teleport".into();
        value["colour"] = "red".into();
        let back: Past = serde_json::from_value(value).expect("read");
        assert_eq!(back.how, How::Unknown);
        for how in [How::Start, How::Probation, How::Rollback, How::Unknown] {
            assert_eq!(serde_json::to_value(how).expect("JSON"), how.name());
        }
    }
}
