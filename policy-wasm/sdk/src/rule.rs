//! Why: rules and what in them matched.

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
    /// Unique within the policy; at most 128 bytes.
    pub name: &'static str,
    /// One line for the operator.
    pub summary: &'static str,
}

impl Rule {
    /// A rule.
    pub const fn new(name: &'static str, summary: &'static str) -> Self {
        Self { name, summary }
    }

    /// This rule decided, because of this entry of it: a network, an address, a setting's key.
    pub fn with(self, entry: impl Into<String>) -> Because {
        Because {
            rule: self.name.to_owned(),
            entry: Some(entry.into()),
        }
    }

    /// This rule decided; there is nothing to add.
    pub fn alone(self) -> Because {
        Because {
            rule: self.name.to_owned(),
            entry: None,
        }
    }
}

/// The reason of a decision. The operator sees it, the peer never does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Because {
    /// Name of the rule.
    pub rule: String,
    /// What in it matched.
    pub entry: Option<String>,
}

/// Who a policy is; see [`crate::description!`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// 1 to 64 printable bytes, as is the version.
    pub name: &'static str,
    /// As the author counts.
    pub version: &'static str,
    /// Every rule that decisions may cite.
    pub rules: Vec<Rule>,
}

/// A [`Description`] with the name and version of the package it is written in.
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
