//! Decisions: validated answers of policies, in the host's own types.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use host_mail::{Envelope, Identity, Mailbox, MessageId, Reply, SessionId};

/// The reason for a decision: the policy and the rule that decided. Recorded in events and decision records, never sent
/// to the peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Name of the policy module in the chain, or `host` for a decision of the host.
    pub policy: String,
    /// Name of the rule that decided, from the policy's own list of rules; for the host, an identifier such as
    /// `no-policy`.
    pub rule: String,
    /// Entry of the rule that matched, such as an address or a network; `None` for rules without entries.
    pub entry: Option<String>,
}

impl Reason {
    /// Creates the reason for a decision that the host made without a policy.
    pub fn host(rule: impl Into<String>) -> Self {
        Self {
            policy: "host".to_owned(),
            rule: rule.into(),
            entry: None,
        }
    }
}

/// Formats the reason as `policy/rule` or `policy/rule (entry)`.
impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.policy, self.rule)?;
        match &self.entry {
            Some(entry) => write!(f, " ({entry})"),
            None => Ok(()),
        }
    }
}

/// An answer to a question, with the reason and the origin: a policy (or the host in its place) or the fault table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered<T> {
    /// The answer that the caller must apply, from a policy or from the fault table.
    pub answer: T,
    /// Reason for the answer.
    pub because: Reason,
    /// True if the answer comes from the fault table: a policy faulted or could not be called.
    pub fault: bool,
}

impl<T> Answered<T> {
    /// Creates an answer of the policy chain, or of the host if no policy of the chain had an opinion.
    pub fn by_policy(answer: T, because: Reason) -> Self {
        Self {
            answer,
            because,
            fault: false,
        }
    }

    /// Creates an answer of the fault table.
    pub fn by_fault_table(answer: T, because: Reason) -> Self {
        Self {
            fault: true,
            ..Self::by_policy(answer, because)
        }
    }
}

/// Terms on which a client is admitted: requirements before MAIL, and exemptions from rules. The default leaves all
/// requirements to the listener and grants no exemptions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AdmissionTerms {
    /// True if the client must authenticate before MAIL, false if not; `None` applies the listener's setting.
    pub authentication: Option<bool>,
    /// True if the client must use TLS before AUTH and MAIL, false if not; `None` applies the listener's setting.
    pub encryption: Option<bool>,
    /// Names of rules that do not apply to the client, see `terms.exemptions` in `wit/policy.wit`. The names
    /// `authentication` and `encryption` lift the listener's requirement.
    pub exemptions: Arc<[String]>,
}

impl AdmissionTerms {
    /// True if the client must authenticate, given the listener's own requirement. The exemption `authentication` lifts
    /// the requirement of the listener, never a requirement of the policy.
    pub fn owes_authentication(&self, required_by_listener: bool) -> bool {
        self.authentication
            .unwrap_or(required_by_listener && !self.exempt_from("authentication"))
    }

    /// True if the client must use TLS, given the listener's own requirement. The exemption `encryption` lifts the
    /// requirement of the listener, never a requirement of the policy.
    pub fn owes_encryption(&self, required_by_listener: bool) -> bool {
        self.encryption
            .unwrap_or(required_by_listener && !self.exempt_from("encryption"))
    }

    fn exempt_from(&self, requirement: &str) -> bool {
        self.exemptions.iter().any(|name| name == requirement)
    }
}

/// Decision about a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Admission {
    /// Admits the client on the given terms.
    Admit(AdmissionTerms),
    /// Refuses the client with a reply instead of the banner, then closes the connection.
    Refuse(Reply),
}

/// Decision about MAIL or RCPT. `Accept` if no policy of the chain has an opinion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Accepts the command.
    Accept,
    /// A 5xx reply.
    Reject(Reply),
    /// A 4xx reply.
    Defer(Reply),
}

/// A change to an accepted message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit {
    /// Adds a header field, given as name and value, at the top of the message.
    AddHeader(String, String),
    /// Removes all header fields with the name.
    RemoveHeader(String),
    /// Removes a recipient of the envelope.
    RemoveRecipient(Mailbox),
    /// Adds a recipient to the envelope, without a further question to the policies.
    AddRecipient(Mailbox),
}

/// Decision about a message. `Accept` without edits if no policy of the chain has an opinion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disposition {
    /// Accepts the message with the given changes.
    Accept(Vec<Edit>),
    /// A 5xx reply.
    Reject(Reply),
    /// A 4xx reply.
    Defer(Reply),
    /// Replies 250 and does not deliver: a failure of the given class goes to [`Decide::plan`](crate::Decide::plan).
    Fail(String),
    /// Replies 250 and keeps the message in the given quarantine folder.
    Quarantine(String),
    /// Replies 250 and drops the message.
    Discard,
}

/// A recipient to which a message was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRecipient {
    /// Address as the sender wrote it.
    pub address: Mailbox,
    /// Reply that ended the delivery.
    pub reply: Reply,
    /// Remote host that gave the reply; `None` for this host.
    pub remote: Option<String>,
}

/// A delivery failure of a message for at least one recipient; the class is the same for all recipients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure {
    /// Id of the original message.
    pub message: MessageId,
    /// Class of the failure, see `failure.class` in `wit/policy.wit`.
    pub class: String,
    /// Envelope of the original.
    pub envelope: Envelope,
    /// Recipients without delivery; never empty.
    pub failed: Vec<FailedRecipient>,
    /// Account that submitted the original; `None` if the client did not authenticate.
    pub identity: Option<Identity>,
    /// Address of the client that submitted the original; `None` for the host's own mail.
    pub client_address: Option<IpAddr>,
    /// Exemptions that admission granted to the client.
    pub exemptions: Vec<String>,
    /// True if the original is an automatic message (RFC 3834).
    pub automatic: bool,
    /// Header fields of the original as names and values, unfolded, bounded in number and length.
    pub headers: Vec<(String, String)>,
}

/// Part of the original that a report returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReturnContent {
    /// The report alone.
    Nothing,
    /// The header, as `text/rfc822-headers` (RFC 6522).
    Headers,
    /// The whole message, as `message/rfc822` (RFC 6522).
    Full,
}

/// Recipient of a notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Audience {
    /// The reverse-path of the original, never null.
    Sender,
    /// The configured administrator.
    Administrator,
    /// Any other mailbox.
    Address(Mailbox),
}

/// A planned non-delivery report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Notice {
    /// Recipient of the report.
    pub to: Audience,
    /// Part of the original that is returned.
    pub content: ReturnContent,
    /// Text before the standard text.
    pub remark: Option<String>,
}

/// The notices about a failure. An empty plan is a decision, too: the failure causes no notice.
pub type Plan = Vec<Notice>;

/// Action of the host when the policy faults at the stage `ndr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NdrFault {
    /// Sends the host's standard report to the administrator, and to the sender unless that is backscatter.
    StandardReport,
    /// Freezes the message at once.
    Freeze,
}

/// Session and message that a question belongs to, for events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// The session; `None` outside of a connection.
    pub session: Option<SessionId>,
    /// The message, if an id exists already.
    pub message: Option<MessageId>,
}

/// A validated answer to any question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // each variant is documented at the type of that name
pub enum Decision {
    Admission(Admission),
    Verdict(Verdict),
    Disposition(Disposition),
    Plan(Plan),
}

impl From<Admission> for Decision {
    fn from(answer: Admission) -> Self {
        Self::Admission(answer)
    }
}

impl From<Verdict> for Decision {
    fn from(answer: Verdict) -> Self {
        Self::Verdict(answer)
    }
}

impl From<Disposition> for Decision {
    fn from(answer: Disposition) -> Self {
        Self::Disposition(answer)
    }
}

impl From<Plan> for Decision {
    fn from(answer: Plan) -> Self {
        Self::Plan(answer)
    }
}

/// Formats the decision in short, without values that differ between messages.
impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Admission(Admission::Admit(terms)) => {
                f.write_str("admit")?;
                match terms.exemptions.is_empty() {
                    true => Ok(()),
                    false => write!(f, ", exempt from {}", terms.exemptions.join(", ")),
                }
            }
            Self::Admission(Admission::Refuse(reply)) => write!(f, "refuse {}", codes(reply)),
            Self::Verdict(Verdict::Accept) | Self::Disposition(Disposition::Accept(_)) => f.write_str("accept"),
            Self::Verdict(Verdict::Reject(reply)) | Self::Disposition(Disposition::Reject(reply)) => {
                write!(f, "reject {}", codes(reply))
            }
            Self::Verdict(Verdict::Defer(reply)) | Self::Disposition(Disposition::Defer(reply)) => {
                write!(f, "defer {}", codes(reply))
            }
            Self::Disposition(Disposition::Fail(class)) => write!(f, "fail {class}"),
            Self::Disposition(Disposition::Quarantine(folder)) => write!(f, "quarantine {folder}"),
            Self::Disposition(Disposition::Discard) => f.write_str("discard"),
            Self::Plan(plan) if plan.is_empty() => f.write_str("tell nobody"),
            Self::Plan(plan) => {
                let recipients: Vec<&str> = plan.iter().map(|notice| audience(&notice.to)).collect();
                write!(f, "tell {}", recipients.join(", "))
            }
        }
    }
}

fn audience(audience: &Audience) -> &'static str {
    match audience {
        Audience::Sender => "sender",
        Audience::Administrator => "administrator",
        Audience::Address(_) => "another address",
    }
}

/// Formats the reply code and the enhanced status code.
fn codes(reply: &Reply) -> String {
    match reply.status {
        Some(status) => format!("{} {status}", reply.code),
        None => reply.code.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exemptions_lift_requirements_of_the_listener_but_not_of_the_policy() {
        let owed = |authentication, exemptions: &[&str]| {
            let terms = AdmissionTerms {
                authentication,
                encryption: None,
                exemptions: exemptions.iter().map(ToString::to_string).collect(),
            };
            (terms.owes_authentication(true), terms.owes_encryption(true))
        };
        assert_eq!(owed(None, &[]), (true, true));
        assert_eq!(owed(None, &["authentication"]), (false, true));
        assert_eq!(owed(None, &["authentication", "encryption"]), (false, false));
        assert_eq!(owed(Some(false), &[]), (false, true));
        assert_eq!(owed(Some(true), &["authentication"]), (true, true));
    }
}
