//! Reasons of decisions: rules and their matched entries.

/// A rule that decisions cite.
///
/// ```
/// use posthouse_policy::Rule;
/// const RELAY: Rule = Rule::new("relay", "who may send mail to other hosts");
/// assert_eq!(RELAY.with("10.0.0.0/8").entry.as_deref(), Some("10.0.0.0/8"));
/// assert_eq!(RELAY.alone().rule, "relay");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Name, unique within the policy, at most 128 bytes.
    pub name: &'static str,
    /// Summary for the operator, on a single line.
    pub summary: &'static str,
}

impl Rule {
    /// Makes a rule.
    pub const fn new(name: &'static str, summary: &'static str) -> Self {
        Self { name, summary }
    }

    /// Returns the reason of a decision by this rule, with the entry that matched: a network, an address, a setting's
    /// key.
    pub fn with(self, entry: impl Into<String>) -> Because {
        Because {
            rule: self.name.to_owned(),
            entry: Some(entry.into()),
        }
    }

    /// Returns the reason of a decision by this rule without an entry.
    pub fn alone(self) -> Because {
        Because {
            rule: self.name.to_owned(),
            entry: None,
        }
    }
}

/// The reason of a decision. Shown to the operator, never to the peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Because {
    /// Name of the rule.
    pub rule: String,
    /// The entry of the rule that matched.
    pub entry: Option<String>,
}

/// The description of a policy; see [`crate::description!`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Name of the policy, 1 to 64 printable bytes.
    pub name: &'static str,
    /// Version of the policy, 1 to 64 printable bytes.
    pub version: &'static str,
    /// Every rule that decisions may cite.
    pub rules: Vec<Rule>,
}

/// Makes a [`Description`] with name and version of the calling package.
///
/// ```
/// use posthouse_policy::{Rule, description};
/// const REFUSE: Rule = Rule::new("refuse", "recipients that get no mail");
/// assert_eq!(description!(REFUSE).rules, [REFUSE]);
/// ```
#[macro_export]
macro_rules! description {
    ($($rule:expr),* $(,)?) => {
        $crate::Description {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            rules: ::std::vec![$($rule),*],
        }
    };
}
