//! Questions and checked answers, in the host's own types.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::Listener;
use crate::mail::{Envelope, Identity, Mailbox, MessageId, Reply, SessionId};

/// Why a decision was made. Never shown to the peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Because {
    /// Name of the module, or `host` when the host itself decided.
    pub policy: String,
    /// The rule that decided.
    pub rule: String,
    /// What in the rule matched.
    pub entry: Option<String>,
}

impl Because {
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
impl std::fmt::Display for Because {
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
pub struct Asked<T> {
    /// The answer.
    pub answer: T,
    /// Why.
    pub because: Because,
    /// It came from the fault table, not from a policy: the policy faulted or could not be asked.
    pub fault: bool,
}

impl<T> Asked<T> {
    /// The chain has answered, or the host where the chain had nothing to say.
    pub(super) fn answered(answer: T, because: Because) -> Self {
        Self {
            answer,
            because,
            fault: false,
        }
    }

    /// The fault table has answered.
    pub(super) fn faulted(answer: T, because: Because) -> Self {
        Self {
            fault: true,
            ..Self::answered(answer, because)
        }
    }
}

/// What a client owes and what it is excused from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Terms {
    /// Must authenticate before MAIL; none leaves it to the listener.
    pub authentication: Option<bool>,
    /// Must use TLS before AUTH and MAIL; none leaves it to the listener.
    pub encryption: Option<bool>,
    /// See `terms.exemptions` in `wit/policy.wit`.
    pub exemptions: Arc<[String]>,
}

impl Terms {
    /// Whether the client owes AUTH to this listener: an exemption lifts what the listener asks for, not what the
    /// policy does.
    pub fn owes_authentication(&self, listener: &Listener) -> bool {
        self.authentication
            .unwrap_or(listener.require_authentication && !self.exempt_from("authentication"))
    }

    /// As [`Self::owes_authentication`], for TLS.
    pub fn owes_encryption(&self, listener: &Listener) -> bool {
        self.encryption
            .unwrap_or(listener.require_encryption && !self.exempt_from("encryption"))
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
    Admit(Terms),
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

/// Where in the host's work a question comes from, for events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// The connection.
    pub session: Option<SessionId>,
    /// The message.
    pub message: Option<MessageId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn an_exemption_lifts_what_the_listener_asks_and_not_what_the_policy_does() {
        let text = "administrator = 'a@example.org'\n[[listener]]\nname = 'in'\naddress = '127.0.0.1:0'\n\
                    require-authentication = true\nrequire-encryption = true";
        let config = Config::parse(text, std::path::Path::new("/")).expect("right");
        let owed = |authentication, exemptions: &[&str]| {
            let terms = Terms {
                authentication,
                encryption: None,
                exemptions: exemptions.iter().map(ToString::to_string).collect(),
            };
            let listener = &config.listeners[0];
            (terms.owes_authentication(listener), terms.owes_encryption(listener))
        };
        assert_eq!(owed(None, &[]), (true, true));
        assert_eq!(owed(None, &["authentication"]), (false, true));
        assert_eq!(owed(None, &["authentication", "encryption"]), (false, false));
        assert_eq!(owed(Some(false), &[]), (false, true));
        assert_eq!(owed(Some(true), &["authentication"]), (true, true));
    }
}
