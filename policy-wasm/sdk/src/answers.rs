//! Answers of a policy.

use crate::rule::Because;
use crate::smtp_reply::Reply;

/// An answer and its reason.
///
/// ```
/// use posthouse_policy::{Decision, Rule, Verdict};
/// const RELAY: Rule = Rule::new("relay", "who may send mail to other hosts");
/// let decision: Decision<Verdict> = Verdict::Accept.because(RELAY.alone());
/// assert_eq!(Decision::<Verdict>::pass().answer, Verdict::Pass);
/// # assert_eq!(decision.because.rule, "relay");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<T> {
    /// The answer.
    pub answer: T,
    /// The reason.
    pub because: Because,
}

/// Answers that have the value "no opinion".
pub trait Opinion: Sized {
    /// The answer that leaves the question to the next module of the chain.
    const PASS: Self;
}

impl<T: Opinion> Decision<T> {
    /// Returns the answer that leaves the question to the next module of the chain, with the reason `pass`.
    pub fn pass() -> Self {
        Self {
            answer: T::PASS,
            because: Because {
                rule: "pass".to_owned(),
                entry: None,
            },
        }
    }
}

macro_rules! answers {
    ($($answer:ty),*) => {$(
        impl $answer {
            /// Returns the decision of this answer with a reason.
            pub fn because(self, because: Because) -> Decision<Self> {
                Decision { answer: self, because }
            }
        }
    )*};
}

answers!(Admission, Verdict, Disposition, Plan);

/// Requirements that the peer must meet before MAIL, and exemptions. `None` leaves a requirement to the listener's
/// configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Requirement to authenticate before MAIL.
    pub authentication: Option<bool>,
    /// Requirement to use TLS before AUTH and MAIL.
    pub encryption: Option<bool>,
    /// Exemptions of the client: at most 32 names of at most 64 bytes. The default policy knows `authentication`,
    ///  `encryption`, `homing`, `originator` and `relay`.
    pub exemptions: Vec<String>,
}

/// The answer to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Absence of an opinion. After the last module, the listener's terms hold.
    Pass,
    /// Admission on these terms.
    Admit(Terms),
    /// Refusal. The reply is sent in place of the banner, and the connection is closed.
    Refuse(Reply),
}

impl Opinion for Admission {
    const PASS: Self = Self::Pass;
}

/// The answer to a sender or a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Absence of an opinion. After the last module, the host accepts, except recipients on other hosts from clients
    /// that neither authenticated nor are exempt from `relay`.
    Pass,
    /// Acceptance.
    Accept,
    /// Permanent refusal with a 5xx reply.
    Reject(Reply),
    /// Temporary refusal with a 4xx reply.
    Defer(Reply),
}

impl Opinion for Verdict {
    const PASS: Self = Self::Pass;
}

/// Converts a 4xx reply to `Defer` and a 5xx reply to `Reject`.
impl From<Reply> for Verdict {
    fn from(reply: Reply) -> Self {
        if reply.is_temporary() {
            Self::Defer(reply)
        } else {
            Self::Reject(reply)
        }
    }
}

/// A change to an accepted message. The host applies all changes of an answer, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Adds a field, name and value, on top of the message. No line break, at most 998 bytes together.
    AddHeader(String, String),
    /// Removes every field with this name.
    RemoveHeader(String),
    /// Removes a recipient, which must be in the envelope.
    RemoveRecipient(String),
    /// Adds a recipient, a mailbox. The host asks no policy about the recipient.
    AddRecipient(String),
}

/// The answer to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// Absence of an opinion. After the last module, the message is accepted.
    Pass,
    /// Acceptance with these changes.
    Accept(Vec<Edit>),
    /// Permanent refusal with a 5xx reply.
    Reject(Reply),
    /// Temporary refusal with a 4xx reply.
    Defer(Reply),
    /// Acceptance from the client without delivery: a failure of this class. At most 64 bytes of lower-case letters,
    /// digits and hyphens.
    Fail(String),
    /// Acceptance into this quarantine folder. At most 64 bytes of lower-case letters, digits and hyphens.
    Quarantine(String),
    /// Acceptance without delivery and without a failure: the message is dropped.
    Discard,
}

impl Opinion for Disposition {
    const PASS: Self = Self::Pass;
}

/// Converts a 4xx reply to `Defer` and a 5xx reply to `Reject`.
impl From<Reply> for Disposition {
    fn from(reply: Reply) -> Self {
        if reply.is_temporary() {
            Self::Defer(reply)
        } else {
            Self::Reject(reply)
        }
    }
}

/// The recipient of a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// The reverse-path of the original message. Not allowed for the null reverse-path.
    Sender,
    /// The administrator that the host's configuration names.
    Administrator,
    /// A mailbox.
    Address(String),
}

/// The returned part of the original message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Exclusion of the original.
    Nothing,
    /// The header of the original.
    Headers,
    /// The whole original.
    Full,
}

/// A non-delivery report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Recipient of the notice.
    pub to: Audience,
    /// The returned part of the original message.
    pub content: Content,
    /// Remark before the standard text, at most 2,000 bytes.
    pub remark: Option<String>,
}

/// The notices about a failure, at most 16. An empty plan is a decision to send no notice.
///
/// ```
/// use posthouse_policy::{Audience, Content, Notice, Plan};
/// let plan = Plan(vec![Notice { to: Audience::Sender, content: Content::Headers, remark: None }]);
/// # assert_eq!(plan.0.len(), 1);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan(pub Vec<Notice>);
