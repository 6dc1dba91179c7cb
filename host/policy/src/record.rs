//! The record of one unit of work as one module saw it: what was asked, what the module asked of the
//! host meanwhile, and what it decided. Whoever has it can ask another policy the same.

pub(crate) mod decision_diff;
pub(crate) mod offline_replay;
pub(crate) mod recorder;
pub(crate) mod redact;
pub(crate) mod replayer;

use serde::{Deserialize, Serialize};

use host_contract::{Decision, Question, Reason};
use host_engine::host_call::{Answer, Call, NoAnswer};
use host_mail::{MessageId, RecordId, SessionId, Timestamp};

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
    pub kept: Completeness,
    /// In order.
    pub exchanges: Vec<Exchange>,
}

/// What of a unit of work a record keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Completeness {
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
    pub outcome: ExchangeOutcome,
    /// How long it took, the making of the instance included, in microseconds.
    pub micros: u64,
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
pub enum ExchangeOutcome {
    /// The module had no opinion.
    Pass,
    /// It had one.
    Decided {
        /// Which.
        answer: Decision,
        /// Why.
        because: Reason,
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
pub(crate) fn weight(call: &Call, given: &Given) -> usize {
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
