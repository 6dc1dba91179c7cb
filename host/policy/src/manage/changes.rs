//! Changes between two generations: code, version and settings. Part of the results of loads and dry runs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use host_engine::generation::Generation;

/// A value before and after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Differs {
    /// The value before.
    pub was: String,
    /// The value after.
    pub now: String,
}

/// The differences between two generations. Empty if nothing differs, or if there was no generation before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Changes {
    /// Digest of the code.
    pub code: Option<Differs>,
    /// The policy's own version.
    pub version: Option<Differs>,
    /// Key paths of settings that are new.
    pub settings_added: Vec<String>,
    /// Key paths of settings with another value.
    pub settings_changed: Vec<String>,
    /// Key paths of settings that are gone.
    pub settings_removed: Vec<String>,
}

impl Changes {
    /// True if there is no difference.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Compares two generations.
    pub(crate) fn between(was: Option<&Generation>, now: &Generation) -> Self {
        let Some(was) = was else {
            return Self::default();
        };
        let change = |was: &str, now: &str| {
            (was != now).then(|| Differs {
                was: was.to_owned(),
                now: now.to_owned(),
            })
        };
        let mut changes = Self {
            code: change(&was.candidate.code.digest, &now.candidate.code.digest),
            version: change(&was.description.version, &now.description.version),
            ..Self::default()
        };
        changes.compare("", &was.candidate.settings, &now.candidate.settings);
        changes
    }

    /// Compares settings alone.
    pub(crate) fn of_settings(was: &Map<String, Value>, now: &Map<String, Value>) -> Self {
        let mut changes = Self::default();
        changes.compare("", was, now);
        changes
    }

    /// Returns the differences of the settings in words; `None` without a difference.
    pub(crate) fn settings_in_words(&self) -> Option<String> {
        let kinds = [
            ("added", &self.settings_added),
            ("changed", &self.settings_changed),
            ("removed", &self.settings_removed),
        ];
        let kinds = kinds.into_iter().filter(|(_, keys)| !keys.is_empty());
        let words: Vec<String> = kinds
            .map(|(kind, keys)| format!("{} {kind}", keys.join(", ")))
            .collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// Adds the differences of settings below `path`.
    fn compare(&mut self, path: &str, was: &Map<String, Value>, now: &Map<String, Value>) {
        let path_of = |key: &str| match path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        for (key, old) in was {
            match (old, now.get(key)) {
                (_, None) => self.settings_removed.push(path_of(key)),
                (Value::Object(old), Some(Value::Object(new))) => self.compare(&path_of(key), old, new),
                (old, Some(new)) if old != new => self.settings_changed.push(path_of(key)),
                _ => {}
            }
        }
        let added = now.keys().filter(|key| !was.contains_key(*key));
        self.settings_added.extend(added.map(|key| path_of(key)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::object;

    #[test]
    fn compares_settings_key_by_key() {
        let was = object(json!({ "a": { "b": 1, "c": [1], "gone": 0 }, "old": {}, "kind": {} }));
        let now = object(json!({ "a": { "b": 1, "c": [2], "new": 0 }, "fresh": {}, "kind": 5 }));
        let mut changes = Changes::default();
        changes.compare("", &was, &now);
        assert_eq!(changes.settings_added, ["a.new", "fresh"]);
        assert_eq!(changes.settings_changed, ["a.c", "kind"]);
        assert_eq!(changes.settings_removed, ["a.gone", "old"]);
        assert!(!changes.is_empty());
    }
}
