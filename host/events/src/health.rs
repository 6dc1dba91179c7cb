//! Health of the host: the conditions that hold now, with their reasons. Every part that has [`crate::Events`] can add a
//! reason. Most reasons begin and end with an event: see `conditions`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// The condition of a part or of the host, from best to worst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The part works.
    #[default]
    Running,
    /// The host serves, and something needs the operator.
    Degraded,
    /// The host cannot serve; clients get 421.
    Failed,
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        })
    }
}

/// The health of the host, or of a part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Health {
    /// The worst condition of all reasons.
    pub condition: Condition,
    /// Reasons for a condition other than `running`.
    pub reasons: Vec<String>,
}

impl Health {
    /// Adds a reason. The condition becomes the worse of both.
    pub fn add(&mut self, condition: Condition, reason: String) {
        self.condition = self.condition.max(condition);
        self.reasons.push(reason);
    }
}

/// The reasons of all parts, by name. Clones share the reasons.
#[derive(Debug, Clone, Default)]
pub struct HealthRegistry {
    reasons: Arc<Mutex<HealthReasons>>,
}

/// Condition and text of each reason, by name.
type HealthReasons = BTreeMap<Cow<'static, str>, (Condition, String)>;

impl HealthRegistry {
    /// Sets the reason of this name, such as `space`. A second call replaces the text.
    pub fn raise(&self, name: impl Into<Cow<'static, str>>, condition: Condition, text: impl Into<String>) {
        self.reasons.lock().insert(name.into(), (condition, text.into()));
    }

    /// Removes the reason of this name.
    pub fn clear(&self, name: &str) {
        self.reasons.lock().remove(name);
    }

    /// Adds every reason to `health`, as `name: text`, in the order of names.
    pub fn add_to(&self, health: &mut Health) {
        for (name, (condition, text)) in &*self.reasons.lock() {
            health.add(*condition, format!("{name}: {text}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_the_worst_of_the_reasons_that_hold() {
        let registry = HealthRegistry::default();
        let health = || {
            let mut health = Health::default();
            registry.add_to(&mut health);
            health
        };
        registry.raise("b", Condition::Failed, "broken");
        registry.raise("a", Condition::Degraded, "first");
        registry.raise("a", Condition::Degraded, "second");
        assert_eq!(health().reasons, ["a: second", "b: broken"]);
        assert_eq!(health().condition, Condition::Failed);
        registry.clear("b");
        assert_eq!(health().condition, Condition::Degraded);
        registry.clear("a");
        assert_eq!(health(), Health::default());
    }
}
