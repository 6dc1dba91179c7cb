//! Counts of TLS sessions with mail exchanges, by day, domain and policy, for reports to the domains (RFC 8460).

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use host_mail::Timestamp;

/// Maximum number of domains that are counted in a day.
const MAX_DOMAINS: usize = 10_000;
/// Maximum number of policies of a domain in a day, and of kinds of failures of a policy.
const MAX_KINDS: usize = 100;
/// Longest reason of a failure, in bytes.
const MAX_REASON: usize = 500;
/// Seconds of a day.
pub(super) const DAY: u64 = 86_400;

/// Kind of a policy (RFC 8460 section 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum PolicyKind {
    /// TLSA records.
    #[serde(rename = "tlsa")]
    Tlsa,
    /// MTA-STS policy.
    #[serde(rename = "sts")]
    Sts,
    /// Absence of a policy.
    #[serde(rename = "no-policy-found")]
    None,
}

/// Policy that sessions with a domain's exchanges were under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct CountedPolicy {
    pub(super) kind: PolicyKind,
    /// Lines of an MTA-STS policy, or TLSA records.
    pub(super) lines: Vec<String>,
    /// Patterns of an MTA-STS policy.
    pub(super) mx: Vec<String>,
}

/// Sessions that are counted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionScope {
    /// Domain of the recipients, in ASCII.
    pub(super) domain: String,
    pub(super) policy: CountedPolicy,
}

/// Kind of failure (RFC 8460 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ResultType {
    StarttlsNotSupported,
    CertificateHostMismatch,
    CertificateExpired,
    CertificateNotTrusted,
    ValidationFailure,
    DnssecInvalid,
    DaneRequired,
    StsPolicyFetchError,
}

/// A kind of failure at an exchange.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct FailureKind {
    pub(super) result: ResultType,
    pub(super) exchange: String,
    pub(super) address: Option<IpAddr>,
    pub(super) reason: String,
}

/// Sessions under a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SessionCounts {
    pub(super) successes: u64,
    pub(super) failures: u64,
    /// Failures by kind; failures beyond the maximum of kinds are in the sum only.
    pub(super) kinds: Vec<(FailureKind, u64)>,
}

/// Sessions of a day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DayCounts {
    /// Number of the day since 1970-01-01, in UTC.
    pub(super) day: u64,
    pub(super) domains: BTreeMap<String, Vec<(CountedPolicy, SessionCounts)>>,
}

/// Returns the number of the day of a time.
pub(super) fn day_of(time: Timestamp) -> u64 {
    time.seconds() / DAY
}

impl DayCounts {
    /// Counts a session: a success, or a failure of a kind.
    pub(super) fn count(&mut self, scope: &SessionScope, failure: Option<FailureKind>) {
        if !self.domains.contains_key(&scope.domain) && self.domains.len() >= MAX_DOMAINS {
            return;
        }
        let policies = self.domains.entry(scope.domain.clone()).or_default();
        let index = match policies.iter().position(|(policy, _)| *policy == scope.policy) {
            Some(index) => index,
            None if policies.len() >= MAX_KINDS => return,
            None => {
                policies.push((scope.policy.clone(), SessionCounts::default()));
                policies.len() - 1
            }
        };
        let Some((_, counts)) = policies.get_mut(index) else {
            return;
        };
        let Some(mut kind) = failure else {
            counts.successes += 1;
            return;
        };
        counts.failures += 1;
        kind.reason = shortened(&kind.reason);
        match counts.kinds.iter().position(|(known, _)| *known == kind) {
            Some(index) => counts.kinds[index].1 += 1,
            None if counts.kinds.len() < MAX_KINDS => counts.kinds.push((kind, 1)),
            None => {}
        }
    }
}

/// Returns the beginning of a reason, in printable ASCII.
fn shortened(reason: &str) -> String {
    let printable = reason.chars().map(|c| match c {
        ' '..='~' => c,
        _ => '?',
    });
    printable.take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(reason: &str) -> Option<FailureKind> {
        Some(FailureKind {
            result: ResultType::CertificateExpired,
            exchange: "mx.far.example".to_owned(),
            address: None,
            reason: reason.to_owned(),
        })
    }

    #[test]
    fn counts_are_bounded_and_sums_complete() {
        let scope = SessionScope {
            domain: "far.example".to_owned(),
            policy: CountedPolicy {
                kind: PolicyKind::Tlsa,
                lines: Vec::new(),
                mx: Vec::new(),
            },
        };
        let mut counts = DayCounts::default();
        counts.count(&scope, None);
        for number in 0..2 * MAX_KINDS {
            counts.count(&scope, failure(&format!("{number} \u{e9}\r\n")));
        }
        counts.count(&scope, failure("0 \u{e9}\r\n"));
        let (_, sessions) = &counts.domains["far.example"][0];
        assert_eq!((sessions.successes, sessions.failures), (1, 2 * MAX_KINDS as u64 + 1));
        assert_eq!(sessions.kinds.len(), MAX_KINDS);
        assert_eq!(sessions.kinds[0], (failure("0 ???").expect("a kind"), 2));
    }
}
