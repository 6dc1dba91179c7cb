//! Names and summaries of the rules that a decision can cite.

use posthouse_policy::Because;

/// Declares the rules, each as `Variant "name" "summary"`.
macro_rules! rules {
    ($($variant:ident $name:literal $summary:literal;)*) => {
        /// A rule of this policy.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Rule { $(#[doc = $summary] $variant),* }

        impl Rule {
            /// Returns the name for decisions and for `describe`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }

        /// Returns every rule, for `describe`.
        pub fn all() -> Vec<posthouse_policy::Rule> {
            vec![$(posthouse_policy::Rule::new($name, $summary)),*]
        }
    };
}

rules! {
    AcceptFrom "accept-from" "what every connection must do before it may send mail";
    AcceptListener "accept-listener" "what connections to one listener must do, and what they are exempt from";
    AcceptHost "accept-host" "the host entry with the longest prefix that holds the client's address";
    Directory "directory" "the directory cannot be asked now";
    Filter "filter" "senders whose mail is discarded or quarantined";
    Homing "homing" "clients can only submit if the sender has a mailbox on this host";
    AccountMatch "account-match" "the sender's addresses match the authenticated account";
    OwnDomains "own-domains" "addresses of local domains are only for clients that may use them";
    Recipient "recipient" "an address of a local domain has exactly one meaning";
    Relay "relay" "who may send mail to other hosts";
    RelayNever "relay-never" "clients and destinations that are never relayed";
    NoObjection "no-objection" "no rule applies, and none has to";
    NdrSender "ndr-sender" "the sender is told about a failure";
    NdrQuiet "ndr-quiet" "the sender is not told: the reverse-path is null, the mail is a report, or the settings leave automatic mail out";
    NdrNotHomed "ndr-not-homed" "an unproven sender is not told that its mail was not accepted; the administrator is";
    NdrLoop "ndr-loop" "mail that goes in circles is the administrator's to stop";
    NdrPostmaster "ndr-postmaster" "mail to postmaster always reaches the administrator";
    NdrCopies "ndr-administrator-copies" "failures of which the administrator gets a copy";
}

impl Rule {
    /// Returns the reason of a decision by this rule, with the entry that matched.
    pub fn because(self, entry: impl Into<String>) -> Because {
        Because {
            rule: self.name().to_owned(),
            entry: Some(entry.into()),
        }
    }

    /// Returns the reason of a decision by this rule without an entry.
    pub fn alone(self) -> Because {
        Because {
            rule: self.name().to_owned(),
            entry: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_lower_case_and_hyphenated() {
        let mut names: Vec<&str> = all().into_iter().map(|rule| rule.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(
            names
                .iter()
                .all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
        );
    }
}
