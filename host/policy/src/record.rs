//! Records of decisions: a record holds a unit of work as seen by a module, with each question, the module's host calls
//! and the answer, so that another policy can be asked the same.
//!
//! - `recorder` makes records while mail is served; `redact` removes personal data.
//! - `replayer` puts a record to another policy, `offline_replay` does so without a host, `decision_diff` compares the
//!   decisions.

pub(crate) mod decision_diff;
pub(crate) mod offline_replay;
pub(crate) mod recorder;
pub(crate) mod redact;
pub(crate) mod replayer;

use serde::{Deserialize, Serialize};

use host_contract::{Decision, Question, Reason};
use host_engine::host_call::{Answer, Call, NoAnswer};
use host_mail::{MessageId, RecordId, SessionId, Timestamp};

/// The version of records that is written, and the only version that is read.
pub const RECORD_VERSION: u32 = 1;

/// The record of an admission, a mail transaction or a notification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// Version of the format, [`RECORD_VERSION`].
    pub version: u32,
    /// Identifier, sorted by time.
    pub id: RecordId,
    /// Time of the unit of work, as `host.now` returned.
    pub time: Timestamp,
    /// The session; none for notifications.
    pub session: Option<SessionId>,
    /// The message, if there was any.
    pub message: Option<MessageId>,
    /// Name of the module in the chain.
    pub module: String,
    /// Generation of the module.
    pub generation: u64,
    /// SHA-256 of the module's code, hexadecimal.
    pub digest: String,
    /// Completeness of the record.
    pub kept: Completeness,
    /// Questions and answers, in order.
    pub exchanges: Vec<Exchange>,
}

/// Completeness of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Completeness {
    /// Everything a replay needs.
    All,
    /// A part of the host's answers is missing, because there were too many.
    Part,
    /// Personal data is hashed or left out; see [`Record::redact`].
    Hashed,
}

/// A question and the outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Exchange {
    /// The question.
    pub question: Question,
    /// True if the instance was made for this question, and so has no memory of earlier questions.
    pub fresh: bool,
    /// Host calls of the module during the question, in order.
    pub calls: Vec<Called>,
    /// The module's answer, or a fault.
    pub outcome: ExchangeOutcome,
    /// Duration in microseconds, instantiation included.
    pub micros: u64,
}

/// A call of a module to the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Called {
    /// The call.
    pub call: Call,
    /// The host's answer.
    pub given: Given,
}

/// The host's answer to a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Given {
    /// An answer.
    Answer(Answer),
    /// An error: the host could not answer.
    NoAnswer(NoAnswer),
    /// An answer that was left out of the record.
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

/// The outcome of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeOutcome {
    /// The module had no opinion.
    Pass,
    /// The module decided.
    Decided {
        /// The decision.
        answer: Decision,
        /// The reason.
        because: Reason,
    },
    /// The module faulted; see Event 4037.
    Fault {
        /// Class of the fault, such as `panic`.
        class: String,
        /// Code of the trap, or a description of the invalid answer.
        code: String,
        /// Innermost function of the policy's own code.
        function: Option<String>,
        /// `file:line` in the policy's source.
        location: Option<String>,
    },
}

impl Record {
    /// Estimates the memory of the record in bytes, for bounds of queues.
    pub fn weight(&self) -> usize {
        let exchange = |exchange: &Exchange| {
            let question = match &exchange.question {
                Question::Message { envelope, message, .. } => {
                    message.header.0.len() + message.body.0.len() + 64 * envelope.recipients.len()
                }
                Question::Plan { failure } => 256 * (failure.headers.len() + failure.failed.len()),
                _ => 0,
            };
            let called = |called: &Called| weight(&called.call, &called.given);
            512 + question + exchange.calls.iter().map(called).sum::<usize>()
        };
        256 + self.exchanges.iter().map(exchange).sum::<usize>()
    }
}

/// Estimates the memory of a call in bytes.
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
