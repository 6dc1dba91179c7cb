//! What a policy answered, in plain types of our own: neither the contract's nor the host's.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// An SMTP reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 400 to 599.
    pub code: u16,
    /// RFC 3463.
    pub status: (u8, u16, u16),
    /// What it says.
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

/// Why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Because {
    /// The rule that decided.
    pub rule: String,
    /// What in it matched.
    pub entry: Option<String>,
}

/// What a client owes and is excused from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // wit/policy.wit says it
pub struct Terms {
    pub authentication: Option<bool>,
    pub encryption: Option<bool>,
    pub exemptions: Vec<String>,
}

/// A change to an accepted message. Displayed as cases write it: `add-header NAME: VALUE`,
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

/// Whom a notice is for. Displayed as `sender`, `administrator`, or the address.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Audience {
    Sender,
    Administrator,
    Address(String),
}

/// How much of the original goes back. Displayed as `nothing`, `headers`, `full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Content {
    Nothing,
    Headers,
    Full,
}

/// One notice. Displayed as `WHO CONTENT`.
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

/// What was decided, at whatever stage. Displayed in the words of cases; see the crate's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// No opinion.
    Pass,
    /// `admit` only.
    Admit(Terms),
    /// `admit` only.
    Refuse(Reply),
    /// With edits for messages, none for the others.
    Accept(Vec<Edit>),
    /// For good.
    Reject(Reply),
    /// For now.
    Defer(Reply),
    /// A message that is taken and fails, with its class.
    Fail(String),
    /// A message that is kept apart, with its folder.
    Quarantine(String),
    /// A message that is taken and dropped.
    Discard,
    /// `ndr` only: who is told.
    Tell(Vec<Notice>),
    /// There was no decision.
    Fault {
        /// Such as `panic`, as in Event 4037.
        class: String,
        /// What is known about it.
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
    /// Whether it ends what the client wants to do: nothing further is asked.
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
    /// What was decided.
    pub decision: Decision,
    /// Why; empty for faults.
    pub because: Because,
}

impl Answer {
    /// There was no answer.
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

/// What kind of question.
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

/// Something wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Key path.
    pub key: String,
    /// What is wrong.
    pub text: String,
}

/// Everything that happened in a case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What `configure` complained of; nothing was asked then.
    pub problems: Vec<Problem>,
    /// None where nothing was asked, or the policy has no such role; so with all of these.
    pub admit: Option<Answer>,
    /// The answer to MAIL.
    pub sender: Option<Answer>,
    /// Each recipient with the answer to its RCPT, in order.
    pub recipients: Vec<(String, Answer)>,
    /// The answer to the final dot.
    pub message: Option<Answer>,
    /// Who is told.
    pub ndr: Option<Answer>,
    /// Lines that the policy logged.
    pub log: Vec<Log>,
}

/// A line that a policy logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `debug`, `info`, `warning`, `error`.
    pub level: &'static str,
    /// The line.
    pub text: String,
}
