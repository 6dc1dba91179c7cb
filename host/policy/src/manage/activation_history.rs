//! What was active, by whom and why: the activations of a module, newest last, bounded.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use host_mail::Timestamp;

/// Activations that are remembered of each module.
const REMEMBERED: usize = 50;
/// Different components of each module whose code is kept.
const CODES: usize = 10;
/// Bytes of a reason that are kept.
const REASON: usize = 1_000;

/// What brought a generation into force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// The host was started.
    Start,
    /// An operator loaded it.
    Load,
    /// The configuration was read again.
    Reload,
    /// An operator went back to it.
    Rollback,
    /// Its file was moved into the watched folder.
    Watch,
    /// It was staged and found good.
    Promote,
    /// The generation after it failed its probation.
    Probation,
    /// Remembered by a release that did not say, or that knew more than this one.
    #[default]
    #[serde(other)]
    Unknown,
}

impl How {
    /// As events and JSON have it.
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

/// Why something is to be activated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) how: How,
    /// Who wants it.
    pub(crate) by: String,
    /// In their own words; may be empty.
    pub(crate) why: String,
}

impl Cause {
    pub(crate) fn new(how: How, by: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            how,
            by: by.into(),
            why: host_mail::cut(why.into(), REASON),
        }
    }

    /// Of what the host does by itself at that moment.
    pub(crate) fn own(how: How) -> Self {
        Self::new(how, how.name(), "")
    }
}

/// One activation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Past {
    /// Never given twice.
    pub generation: u64,
    /// Of the code: SHA-256, hexadecimal.
    pub digest: String,
    /// As the policy called itself.
    #[serde(default)]
    pub version: String,
    /// As it was configured.
    pub settings: Map<String, Value>,
    /// Where the code came from.
    pub origin: String,
    /// When.
    pub since: Timestamp,
    /// Who.
    pub by: String,
    /// What brought it about.
    #[serde(default)]
    pub how: How,
    /// In the words of whoever wanted it.
    #[serde(default)]
    pub why: String,
    /// The generation it went back to, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<u64>,
}

/// The activations of one module, newest last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct History(Vec<Past>);

impl History {
    /// Remembers an activation. A generation that runs again, after a restart, is remembered once; one
    /// that was put back because another failed is remembered for that, too.
    pub(crate) fn record(&mut self, past: Past) {
        if past.how != How::Probation && self.find(past.generation).is_some() {
            return;
        }
        self.0.push(past);
        let surplus = self.0.len().saturating_sub(REMEMBERED);
        self.0.drain(..surplus);
    }

    pub(crate) fn find(&self, generation: u64) -> Option<&Past> {
        self.0.iter().find(|past| past.generation == generation)
    }

    /// Newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Past> {
        self.0.iter().rev()
    }

    /// Digests of the newest components: their code is kept.
    pub(crate) fn codes(&self) -> BTreeSet<&str> {
        let mut codes = BTreeSet::new();
        for past in self.newest_first() {
            if codes.len() == CODES {
                break;
            }
            codes.insert(past.digest.as_str());
        }
        codes
    }

    /// Where going back leads from a generation: to the last one before it with other code or other
    /// settings. From one that was itself a way back this counts from where that led, so that going
    /// back twice undoes two loads instead of undoing the first way back.
    pub(crate) fn before(&self, generation: u64) -> Option<&Past> {
        let mut place = self.0.iter().position(|past| past.generation == generation)?;
        let active = self.0.get(place)?;
        // Each step leads to an older place, so this ends.
        while let Some(origin) = self.0.get(place).and_then(|past| past.back_to)
            && let Some(older) = self.0[..place].iter().position(|past| past.generation == origin)
        {
            place = older;
        }
        let differs = |past: &&Past| past.digest != active.digest || past.settings != active.settings;
        self.0[..place].iter().rev().find(differs)
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

    fn before(history: &History, generation: u64) -> Option<u64> {
        history.before(generation).map(|past| past.generation)
    }

    #[test]
    fn going_back_again_goes_further_back() {
        let history = history(&[
            (1, "a", None),
            (2, "b", None),
            (3, "c", None),
            (4, "b", Some(2)),
            (5, "a", Some(1)),
            (6, "d", None),
        ]);
        assert_eq!(before(&history, 3), Some(2));
        assert_eq!(before(&history, 4), Some(1));
        assert_eq!(before(&history, 5), None);
        assert_eq!(before(&history, 6), Some(5));
        assert_eq!(before(&history, 7), None);
    }

    #[test]
    fn what_differs_in_nothing_is_no_way_back() {
        let mut history = history(&[(1, "a", None), (2, "b", None), (3, "b", None)]);
        assert_eq!(before(&history, 3), Some(1));
        let mut other = past(4, "b", None);
        other.settings.insert("x".to_owned(), Value::Null);
        history.record(other);
        assert_eq!(before(&history, 4), Some(3));
    }

    #[test]
    fn it_is_bounded_and_remembers_the_newest() {
        let mut history = History::default();
        for generation in 1..=80 {
            history.record(past(generation, &format!("{:02}", generation / 2), None));
            history.record(past(generation, "again", None));
        }
        assert_eq!(history.newest_first().count(), REMEMBERED);
        assert_eq!(history.newest_first().next().map(|past| past.generation), Some(80));
        assert_eq!(history.find(30), None);
        let codes = history.codes();
        assert_eq!(codes.len(), CODES);
        assert!(codes.contains("40") && codes.contains("31") && !codes.contains("30") && !codes.contains("again"));
    }

    #[test]
    fn what_a_later_release_remembers_is_read() {
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
