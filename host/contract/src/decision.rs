//! Decisions: the checked answers to the questions, in the host's own types.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use host_mail::{Envelope, Identity, Mailbox, MessageId, Reply, SessionId};

/// Why a decision was made. Never shown to the peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Name of the module, or `host` when the host itself decided.
    pub policy: String,
    /// The rule that decided.
    pub rule: String,
    /// What in the rule matched.
    pub entry: Option<String>,
}

impl Reason {
    /// The host decided, not a policy.
    pub fn host(rule: impl Into<String>) -> Self {
        Self {
            policy: "host".to_owned(),
            rule: rule.into(),
            entry: None,
        }
    }
}

/// `policy/rule` or `policy/rule (entry)`.
impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.policy, self.rule)?;
        match &self.entry {
            Some(entry) => write!(f, " ({entry})"),
            None => Ok(()),
        }
    }
}

/// An answer with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered<T> {
    /// The answer.
    pub answer: T,
    /// Why.
    pub because: Reason,
    /// It came from the fault table, not from a policy: the policy faulted or could not be asked.
    pub fault: bool,
}

impl<T> Answered<T> {
    /// The chain has answered, or the host where the chain had nothing to say.
    pub fn answered(answer: T, because: Reason) -> Self {
        Self {
            answer,
            because,
            fault: false,
        }
    }

    /// The fault table has answered.
    pub fn faulted(answer: T, because: Reason) -> Self {
        Self {
            fault: true,
            ..Self::answered(answer, because)
        }
    }
}

/// What a client owes and what it is excused from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AdmissionTerms {
    /// Must authenticate before MAIL; none leaves it to the listener.
    pub authentication: Option<bool>,
    /// Must use TLS before AUTH and MAIL; none leaves it to the listener.
    pub encryption: Option<bool>,
    /// See `terms.exemptions` in `wit/policy.wit`.
    pub exemptions: Arc<[String]>,
}

impl AdmissionTerms {
    /// True if the client owes AUTH to a listener that does (or does not) ask for it: an exemption lifts what the
    /// listener asks for, not what the policy does.
    pub fn owes_authentication(&self, required_by_listener: bool) -> bool {
        self.authentication
            .unwrap_or(required_by_listener && !self.exempt_from("authentication"))
    }

    /// The same for TLS.
    pub fn owes_encryption(&self, required_by_listener: bool) -> bool {
        self.encryption
            .unwrap_or(required_by_listener && !self.exempt_from("encryption"))
    }

    fn exempt_from(&self, what: &str) -> bool {
        self.exemptions.iter().any(|name| name == what)
    }
}

/// The answer to a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Admission {
    /// Go on, on these terms.
    Admit(AdmissionTerms),
    /// This reply takes the banner's place.
    Refuse(Reply),
}

/// The answer to MAIL or RCPT. No opinion of the whole chain is `Accept`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Go on.
    Accept,
    /// A 5xx reply.
    Reject(Reply),
    /// A 4xx reply.
    Defer(Reply),
}

/// One change to an accepted message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit {
    /// Put on top.
    AddHeader(String, String),
    /// Every field of this name.
    RemoveHeader(String),
    /// Must be in the envelope.
    RemoveRecipient(Mailbox),
    /// Not asked about again.
    AddRecipient(Mailbox),
}

/// What becomes of a message. No opinion of the whole chain is `Accept` without edits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disposition {
    /// Deliver it, with these changes.
    Accept(Vec<Edit>),
    /// A 5xx reply.
    Reject(Reply),
    /// A 4xx reply.
    Defer(Reply),
    /// 250, then a failure of this class goes to the NDR plan.
    Fail(String),
    /// 250, then kept apart in this folder.
    Quarantine(String),
    /// 250, then dropped.
    Discard,
}

/// A recipient that will not get the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRecipient {
    /// As the sender wrote it.
    pub address: Mailbox,
    /// The reply that ended it.
    pub reply: Reply,
    /// The host that gave the reply; none when it was this one.
    pub remote: Option<String>,
}

/// A message that failed for some recipients; all with the same class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure {
    /// The original.
    pub message: MessageId,
    /// See `failure.class` in `wit/policy.wit`.
    pub class: String,
    /// The original's.
    pub envelope: Envelope,
    /// At least one.
    pub failed: Vec<FailedRecipient>,
    /// Who submitted the original.
    pub identity: Option<Identity>,
    /// Where it came from; none for the host's own mail.
    pub client_address: Option<IpAddr>,
    /// What admission granted that client.
    pub exemptions: Vec<String>,
    /// RFC 3834: the original is itself automatic.
    pub automatic: bool,
    /// Unfolded, bounded.
    pub headers: Vec<(String, String)>,
}

/// How much of the original goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReturnContent {
    /// The report alone.
    Nothing,
    /// RFC 6522 `text/rfc822-headers`.
    Headers,
    /// RFC 6522 `message/rfc822`.
    Full,
}

/// Whom a notice is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Audience {
    /// The original's reverse-path, never null.
    Sender,
    /// The configured administrator.
    Administrator,
    /// Somebody else.
    Address(Mailbox),
}

/// One non-delivery report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Notice {
    /// Whom it is for.
    pub to: Audience,
    /// How much of the original it returns.
    pub content: ReturnContent,
    /// Said before the standard text.
    pub remark: Option<String>,
}

/// Who is told. An empty list is a decision, too.
pub type Plan = Vec<Notice>;

/// What a fault does at `ndr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NdrFault {
    /// The host's own report to the administrator, and to the sender if that is no backscatter.
    StandardReport,
    /// The message is frozen at once.
    Freeze,
}

/// Where in the host's work a question comes from, for events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// The connection.
    pub session: Option<SessionId>,
    /// The message.
    pub message: Option<MessageId>,
}

/// A checked answer to one of the questions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // the types say it
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

/// In short, without what differs from message to message.
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
                let told: Vec<&str> = plan.iter().map(|notice| audience(&notice.to)).collect();
                write!(f, "tell {}", told.join(", "))
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
    fn an_exemption_lifts_what_the_listener_asks_and_not_what_the_policy_does() {
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
