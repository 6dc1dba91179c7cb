//! What a policy answers.

use crate::reply::Reply;
use crate::rule::Because;

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
    /// What.
    pub answer: T,
    /// Why.
    pub because: Because,
}

/// Answers that can be "no opinion".
pub trait Opinion: Sized {
    /// No opinion: the next module of the chain is asked.
    const PASS: Self;
}

impl<T: Opinion> Decision<T> {
    /// No opinion: the next module of the chain is asked. There is nothing to explain.
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
            /// This answer for that reason.
            pub fn because(self, because: Because) -> Decision<Self> {
                Decision { answer: self, because }
            }
        }
    )*};
}

answers!(Admission, Verdict, Disposition, Plan);

/// What the peer owes before it may send mail. None leaves a requirement as the listener has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Must authenticate before MAIL.
    pub authentication: Option<bool>,
    /// Must use TLS before AUTH and MAIL.
    pub encryption: Option<bool>,
    /// What the client is excused from: at most 32 names of at most 64 bytes. The default policy knows
    /// `authentication`, `encryption`, `homing`, `originator` and `relay`.
    pub exemptions: Vec<String>,
}

/// The answer to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// No opinion; after the last module the listener's own terms hold.
    Pass,
    /// On these terms.
    Admit(Terms),
    /// The reply takes the banner's place and the connection is closed.
    Refuse(Reply),
}

impl Opinion for Admission {
    const PASS: Self = Self::Pass;
}

/// The answer to a sender or a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No opinion; after the last module the host accepts, but for recipients elsewhere of clients that
    /// neither authenticated nor are exempt from `relay`.
    Pass,
    /// Yes.
    Accept,
    /// No, for good; a 5xx reply.
    Reject(Reply),
    /// No, for now; a 4xx reply.
    Defer(Reply),
}

impl Opinion for Verdict {
    const PASS: Self = Self::Pass;
}

/// For good or for now, as the reply's code has it.
impl From<Reply> for Verdict {
    fn from(reply: Reply) -> Self {
        if reply.is_temporary() {
            Self::Defer(reply)
        } else {
            Self::Reject(reply)
        }
    }
}

/// One change to an accepted message. All are applied together, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Put on top of the message. No line break, at most 998 bytes together.
    AddHeader(String, String),
    /// Every field of this name.
    RemoveHeader(String),
    /// Must be in the envelope.
    RemoveRecipient(String),
    /// A mailbox; the host asks no policy about it.
    AddRecipient(String),
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// No opinion; after the last module the message is accepted.
    Pass,
    /// Yes, with these changes.
    Accept(Vec<Edit>),
    /// No, for good; a 5xx reply.
    Reject(Reply),
    /// No, for now; a 4xx reply.
    Defer(Reply),
    /// Accepted from the client and not delivered: a failure of this class. At most 64 bytes of
    /// lower-case letters, digits and hyphens.
    Fail(String),
    /// Accepted and kept apart in this folder, named as a class is.
    Quarantine(String),
    /// Accepted and dropped.
    Discard,
}

impl Opinion for Disposition {
    const PASS: Self = Self::Pass;
}

/// For good or for now, as the reply's code has it.
impl From<Reply> for Disposition {
    fn from(reply: Reply) -> Self {
        if reply.is_temporary() {
            Self::Defer(reply)
        } else {
            Self::Reject(reply)
        }
    }
}

/// Whom a notice is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// The reverse-path of the original. Not allowed when that is null.
    Sender,
    /// The administrator whom the host's configuration names.
    Administrator,
    /// A mailbox.
    Address(String),
}

/// How much of the original goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Nothing,
    /// Its header.
    Headers,
    /// All of it.
    Full,
}

/// One non-delivery report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Who is told.
    pub to: Audience,
    /// How much of the original goes with it.
    pub content: Content,
    /// Said before the standard text; at most 2,000 bytes.
    pub remark: Option<String>,
}

/// Who is told about a failure: at most 16 notices. Nobody is a decision too.
///
/// ```
/// use posthouse_policy::{Audience, Content, Notice, Plan};
/// let plan = Plan(vec![Notice { to: Audience::Sender, content: Content::Headers, remark: None }]);
/// # assert_eq!(plan.0.len(), 1);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan(pub Vec<Notice>);
