//! The record of one unit of work as one module saw it: what was asked, what the module asked of the
//! host meanwhile, and what it decided. Whoever has it can ask another policy the same.

pub(super) mod again;
pub(super) mod compare;
pub(super) mod discreet;
pub(super) mod playback;
pub(super) mod replay;
pub(super) mod shadow;
pub(super) mod tape;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::mail::{Client, Content, Envelope, Mailbox, MessageId, RecordId, ReversePath, SessionId, Timestamp};
use crate::policy::decision::{Admission, Because, Disposition, Failure, Plan, Verdict};
use crate::policy::sandbox::call::{Answer, Call, NoAnswer};

/// The version of records that is written, and the only one that is read.
pub const RECORD_VERSION: u32 = 1;

/// One admission, one mail transaction or one notification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// See [`RECORD_VERSION`].
    pub version: u32,
    /// Sorts by time.
    pub id: RecordId,
    /// What `host.now` told.
    pub time: Timestamp,
    /// The connection; none for notifications.
    pub session: Option<SessionId>,
    /// The message, if there was one.
    pub message: Option<MessageId>,
    /// Name in the chain.
    pub module: String,
    /// Which generation of it.
    pub generation: u64,
    /// SHA-256 of its code, hexadecimal.
    pub digest: String,
    /// What of it was kept.
    pub kept: Kept,
    /// In order.
    pub exchanges: Vec<Exchange>,
}

/// What of a unit of work a record keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// Everything a replay needs.
    All,
    /// Not every answer of the host: there were too many.
    Part,
    /// Nothing that names a person.
    Hashed,
}

/// One question and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Exchange {
    /// What was asked.
    pub question: Question,
    /// The instance was made for this question: it remembers nothing of those before.
    pub fresh: bool,
    /// What the module asked meanwhile, in order.
    pub calls: Vec<Called>,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took, the making of the instance included, in microseconds.
    pub micros: u64,
}

/// A question in the host's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // wit/policy.wit says it
pub enum Question {
    Admit {
        client: Client,
    },
    Sender {
        client: Client,
        sender: ReversePath,
    },
    Recipient {
        client: Client,
        sender: ReversePath,
        recipient: Mailbox,
    },
    Message {
        client: Client,
        envelope: Envelope,
        message: Excerpt,
    },
    Plan {
        failure: Box<Failure>,
    },
}

impl Question {
    /// As events name it.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Admit { .. } => "admit",
            Self::Sender { .. } => "sender",
            Self::Recipient { .. } => "recipient",
            Self::Message { .. } => "message",
            Self::Plan { .. } => "ndr",
        }
    }

    /// What it is about, for people. Hostile: escape it before showing it.
    pub fn subject(&self) -> String {
        match self {
            Self::Admit { client } => client.address.to_string(),
            Self::Sender { sender, .. } => sender.to_string(),
            Self::Recipient { recipient, .. } => format!("<{recipient}>"),
            Self::Message { envelope, message, .. } => {
                format!("{} from {}", bytes(message.size), envelope.sender)
            }
            Self::Plan { failure } => format!("{} from {}", failure.class, failure.envelope.sender),
        }
    }
}

fn bytes(count: u64) -> String {
    format!("{count} byte{}", if count == 1 { "" } else { "s" })
}

/// What is kept of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Excerpt {
    /// Bytes of the whole message.
    pub size: u64,
    /// The header block, without the empty line.
    pub header: Octets,
    /// What follows it, as far as it was kept: the empty line, and some of the body.
    pub body: Octets,
}

impl Content for Excerpt {
    fn size(&self) -> u64 {
        self.size
    }

    /// Short where not more was kept.
    fn read(&self, offset: u64, length: usize) -> std::io::Result<Bytes> {
        let (header, body) = (&self.header.0, &self.body.0);
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let known = header.iter().skip(at);
        let rest = body.iter().skip(at.saturating_sub(header.len()));
        Ok(known.chain(rest).take(length).copied().collect())
    }
}

/// Bytes: text where they are UTF-8, else base64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Octets(pub Bytes);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Written {
    Text(String),
    Base64(String),
}

impl From<Octets> for Written {
    fn from(octets: Octets) -> Self {
        match std::str::from_utf8(&octets.0) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(STANDARD.encode(&octets.0)),
        }
    }
}

impl From<Written> for Octets {
    /// What is not base64 after all is taken as it stands: only a record that was tampered with has it.
    fn from(written: Written) -> Self {
        Self(match written {
            Written::Text(text) => text.into(),
            Written::Base64(text) => STANDARD.decode(&text).map_or_else(|_| text.into(), Bytes::from),
        })
    }
}

/// A call of a module to the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Called {
    /// What was asked.
    pub call: Call,
    /// What was answered.
    pub given: Given,
}

/// An answer of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Given {
    /// There was one.
    Answer(Answer),
    /// There was none.
    NoAnswer(NoAnswer),
    /// Not kept.
    LeftOut,
}

impl From<Result<Answer, NoAnswer>> for Given {
    fn from(result: Result<Answer, NoAnswer>) -> Self {
        result.map_or_else(Self::NoAnswer, Self::Answer)
    }
}

impl From<Given> for Result<Answer, NoAnswer> {
    fn from(given: Given) -> Self {
        match given {
            Given::Answer(answer) => Ok(answer),
            Given::NoAnswer(why) => Err(why),
            Given::LeftOut => Err(NoAnswer::Unavailable("not recorded".to_owned())),
        }
    }
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The module had no opinion.
    Pass,
    /// It had one.
    Decided {
        /// Which.
        answer: Decision,
        /// Why.
        because: Because,
    },
    /// It faulted; see Event 4037.
    Fault {
        /// Such as `panic`.
        class: String,
        /// The trap's code or the lie, in words.
        code: String,
        /// Innermost function of the policy's own code.
        function: Option<String>,
        /// `file:line` of it.
        location: Option<String>,
    },
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

impl Record {
    /// About how many bytes it takes in memory, for bounds.
    pub fn weight(&self) -> usize {
        let exchange = |exchange: &Exchange| {
            let said = match &exchange.question {
                Question::Message { envelope, message, .. } => {
                    message.header.0.len() + message.body.0.len() + 64 * envelope.recipients.len()
                }
                Question::Plan { failure } => 256 * (failure.headers.len() + failure.failed.len()),
                _ => 0,
            };
            let called = |called: &Called| weight(&called.call, &called.given);
            512 + said + exchange.calls.iter().map(called).sum::<usize>()
        };
        256 + self.exchanges.iter().map(exchange).sum::<usize>()
    }
}

/// About how many bytes a call takes.
pub(super) fn weight(call: &Call, given: &Given) -> usize {
    let called = match call {
        Call::MaySendAs {
            account: one,
            address: two,
        }
        | Call::IsMember {
            group: one,
            address: two,
        } => one.len() + two.len(),
        Call::Lookup { address: text }
        | Call::IsLocalDomain { domain: text }
        | Call::Addresses { name: text }
        | Call::Exchanges { name: text }
        | Call::Texts { name: text }
        | Call::Names { address: text }
        | Call::CounterAdd { key: text, .. }
        | Call::CounterValue { key: text } => text.len(),
        Call::Findings => 0,
    };
    let answered = match given {
        Given::Answer(Answer::Entries(entries)) => 256 * entries.len(),
        Given::Answer(Answer::Texts(texts)) => texts.iter().map(|text| 32 + text.len()).sum(),
        Given::Answer(Answer::Exchanges(hosts)) => 128 * hosts.len(),
        Given::Answer(Answer::Findings(findings)) => 256 * findings.len(),
        _ => 32,
    };
    64 + called + answered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_were_whether_they_are_text_or_not() {
        for bytes in [&b"Subject: \xff\r\n"[..], b"Subject: h\xc3\xb6flich\r\n", b""] {
            let octets = Octets(Bytes::copy_from_slice(bytes));
            let json = serde_json::to_string(&octets).expect("JSON");
            assert_eq!(serde_json::from_str::<Octets>(&json).expect("octets"), octets, "{json}");
        }
    }

    #[test]
    fn an_excerpt_reads_as_the_message_did_as_far_as_it_goes() {
        let excerpt = Excerpt {
            size: 100,
            header: Octets("A: b\r\n".into()),
            body: Octets("\r\nHello".into()),
        };
        assert_eq!(excerpt.read(0, 100).expect("read"), "A: b\r\n\r\nHello");
        assert_eq!(excerpt.read(4, 6).expect("read"), "\r\n\r\nHe");
        assert_eq!(excerpt.read(8, 2).expect("read"), "He");
        assert_eq!(excerpt.read(90, 10).expect("read"), "");
    }
}
