//! Answers of a policy, in types that depend neither on the contract's bindings nor on the host.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// An SMTP reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Reply code from 400 to 599.
    pub code: u16,
    /// Status code (RFC 3463): class, subject, detail.
    pub status: (u8, u16, u16),
    /// Text after the codes.
    pub text: String,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (class, subject, detail) = self.status;
        write!(f, "{} {class}.{subject}.{detail} {}", self.code, self.text)
    }
}

impl FromStr for Reply {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no reply: expected one such as \"550 5.1.1 No such user\"");
        let mut words = text.splitn(3, ' ');
        let code = words.next().and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
        let status = words.next().and_then(status).ok_or_else(wrong)?;
        if !(400..600).contains(&code) || u16::from(status.0) != code / 100 {
            return Err(wrong());
        }
        let text = words.next().unwrap_or_default().to_owned();
        Ok(Self { code, status, text })
    }
}

fn status(word: &str) -> Option<(u8, u16, u16)> {
    let mut parts = word.split('.');
    let status = (
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
    );
    parts.next().is_none().then_some(status)
}

/// The reason of a decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Because {
    /// The rule that decided.
    pub rule: String,
    /// The entry of the rule that matched.
    pub entry: Option<String>,
}

/// Requirements and exemptions of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // wit/policy.wit says it
pub struct Terms {
    pub authentication: Option<bool>,
    pub encryption: Option<bool>,
    pub exemptions: Vec<String>,
}

/// A change to an accepted message. Displayed in the words of cases: `add-header NAME: VALUE`,
/// `remove-header NAME`, `add-recipient ADDRESS`, `remove-recipient ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Edit {
    AddHeader { name: String, value: String },
    RemoveHeader(String),
    AddRecipient(String),
    RemoveRecipient(String),
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddHeader { name, value } => write!(f, "add-header {name}: {value}"),
            Self::RemoveHeader(name) => write!(f, "remove-header {name}"),
            Self::AddRecipient(address) => write!(f, "add-recipient {address}"),
            Self::RemoveRecipient(address) => write!(f, "remove-recipient {address}"),
        }
    }
}

/// The recipient of a notice. Displayed as `sender`, `administrator`, or the address.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Audience {
    Sender,
    Administrator,
    Address(String),
}

/// The returned part of the original message. Displayed as `nothing`, `headers`, `full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Content {
    Nothing,
    Headers,
    Full,
}

/// A notice. Displayed as `WHO CONTENT`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Notice {
    pub to: Audience,
    pub content: Content,
    pub remark: Option<String>,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = match &self.to {
            Audience::Sender => "sender",
            Audience::Administrator => "administrator",
            Audience::Address(address) => address,
        };
        let content = match self.content {
            Content::Nothing => "nothing",
            Content::Headers => "headers",
            Content::Full => "full",
        };
        write!(f, "{to} {content}")
    }
}

/// The decision of any stage. Displayed in the words of cases, which the crate's page lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Absence of an opinion.
    Pass,
    /// The client is admitted on these terms. Stage `admit` only.
    Admit(Terms),
    /// The connection is refused. Stage `admit` only.
    Refuse(Reply),
    /// Acceptance, with edits at the stage `message` only.
    Accept(Vec<Edit>),
    /// A permanent refusal.
    Reject(Reply),
    /// A temporary refusal.
    Defer(Reply),
    /// The message is accepted and fails with this class.
    Fail(String),
    /// The message is accepted and quarantined in this folder.
    Quarantine(String),
    /// The message is accepted and dropped.
    Discard,
    /// Notices to send. Stage `ndr` only.
    Tell(Vec<Notice>),
    /// A fault in place of a decision.
    Fault {
        /// Class of the fault as in Event 4037, such as `panic`.
        class: String,
        /// Description of the fault.
        text: String,
    },
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Admit(_) => f.write_str("admit"),
            Self::Refuse(reply) => write!(f, "refuse {reply}"),
            Self::Accept(_) => f.write_str("accept"),
            Self::Reject(reply) => write!(f, "reject {reply}"),
            Self::Defer(reply) => write!(f, "defer {reply}"),
            Self::Fail(class) => write!(f, "fail {class}"),
            Self::Quarantine(folder) => write!(f, "quarantine {folder}"),
            Self::Discard => f.write_str("discard"),
            Self::Tell(notices) if notices.is_empty() => f.write_str("tell nobody"),
            Self::Tell(notices) => {
                let notices: Vec<String> = notices.iter().map(Notice::to_string).collect();
                write!(f, "tell {}", notices.join(", "))
            }
            Self::Fault { class, .. } => write!(f, "fault {class}"),
        }
    }
}

impl Decision {
    /// True for a refusal or a fault, after which the connection, the transaction or the recipient has no further
    /// questions.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Refuse(_) | Self::Reject(_) | Self::Defer(_) | Self::Fault { .. }
        )
    }
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The decision.
    pub decision: Decision,
    /// The reason; empty for faults.
    pub because: Because,
}

impl Answer {
    /// Makes the answer for a fault of the policy.
    pub fn fault(class: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            decision: Decision::Fault {
                class: class.into(),
                text: text.into(),
            },
            because: Because::default(),
        }
    }
}

/// The kind of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // wit/policy.wit says it
pub enum Stage {
    Admit,
    Sender,
    Recipient,
    Message,
    Ndr,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admit => "admit",
            Self::Sender => "sender",
            Self::Recipient => "recipient",
            Self::Message => "message",
            Self::Ndr => "ndr",
        })
    }
}

/// A problem of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key.
    pub key: String,
    /// Description of the problem.
    pub text: String,
}

/// Everything that happened in a case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Problems that `configure` reported. Nothing is asked if there are problems.
    pub problems: Vec<Problem>,
    /// The answer to `admit`. Each answer of an outcome is `None` if the question was not asked or if the policy does
    /// not have the role.
    pub admit: Option<Answer>,
    /// The answer to MAIL.
    pub sender: Option<Answer>,
    /// Each recipient with the answer to its RCPT, in order.
    pub recipients: Vec<(String, Answer)>,
    /// The answer to the end of DATA.
    pub message: Option<Answer>,
    /// The plan of notices.
    pub ndr: Option<Answer>,
    /// Lines that the policy logged.
    pub log: Vec<Log>,
}

/// A line that a policy logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `debug`, `info`, `warning`, `error`.
    pub level: &'static str,
    /// Text of the line.
    pub text: String,
}
