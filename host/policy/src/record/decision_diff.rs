//! The comparison of two policies' decisions: counts of equal and changed decisions, and a few examples of each change.
//! Filled by the offline replay and by the shadow.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::replayer::Played;
use crate::record::{Completeness, Exchange, ExchangeOutcome, RECORD_VERSION, Record};
use host_mail::{MessageId, RecordId, SessionId, Timestamp};

/// Maximum number of examples of a change.
const MAX_EXAMPLES: usize = 3;
/// Maximum number of distinct changes; a policy may invent rules without end.
const MAX_CHANGES: usize = 200;
/// Maximum length of a rule or verdict, in bytes.
const MAX_WORD: usize = 120;

/// A comparison of the decisions of the active policy and a candidate. The entry that matched and the policies' log
/// lines are not compared: both explain a decision without being part of the decision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Comparison {
    /// Questions put to both policies.
    pub compared: u64,
    /// Questions with the same answer by the same rule.
    pub same: u64,
    /// Questions with another answer, another rule, or a fault of only a single policy.
    pub different: u64,
    /// Compared questions for which the candidate made a call that was not recorded, so that the answer is a guess.
    pub unrecorded: u64,
    /// Faults of the candidate.
    pub faulted: u64,
    /// Questions that were not compared: hashed and partial records, and questions left unasked after a fault.
    pub skipped: u64,
    /// Faults of the candidate by class.
    pub faults: BTreeMap<String, u64>,
    /// The changes, most frequent first.
    pub changes: Vec<Change>,
    /// Differences that had no room in `changes`.
    pub more_changes: u64,
    /// Time of the active policy for the compared questions, in microseconds.
    pub active_micros: u64,
    /// Time of the candidate for the compared questions, in microseconds.
    pub candidate_micros: u64,
}

/// A change that some decisions share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// `admit`, `sender`, `recipient`, `message` or `ndr`.
    pub stage: String,
    /// Decision of the active policy.
    pub from: Stand,
    /// Decision of the candidate. Equal to `from` if only details differ, such as a reply's text.
    pub to: Stand,
    /// Number of decisions.
    pub count: u64,
    /// The first few decisions.
    pub examples: Vec<Example>,
}

/// A decision in a few words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stand {
    /// `accept`, `reject 550 5.7.1`, `pass`, `fault panic` and the like.
    pub verdict: String,
    /// The rule; empty for `pass` and for faults.
    pub rule: String,
}

/// An example of a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Example {
    /// The record, which exists only if recording is on: a shadow compares samples that are not recorded, too.
    pub record: RecordId,
    /// Time of the unit of work.
    pub time: Timestamp,
    /// The session.
    pub session: Option<SessionId>,
    /// The message.
    pub message: Option<MessageId>,
    /// The subject of the question, such as an address. Hostile: escape before display.
    pub subject: String,
    /// True if the candidate's answer is a guess.
    pub unrecorded: bool,
    /// Decision of the active policy.
    pub from: ExchangeOutcome,
    /// Decision of the candidate.
    pub to: ExchangeOutcome,
}

impl Comparison {
    /// True if a decision would change.
    pub fn differs(&self) -> bool {
        self.different > 0
    }

    /// Counts the questions of a record that cannot be compared.
    pub fn skip(&mut self, record: &Record) {
        self.skipped += record.exchanges.len() as u64;
    }

    /// Counts a line that is no record.
    pub fn skip_one(&mut self) {
        self.skipped += 1;
    }

    /// Compares the recorded outcomes with the outcomes of the candidate.
    pub(crate) fn add(&mut self, record: &Record, played: &[Played]) {
        for (exchange, played) in record.exchanges.iter().zip(played) {
            self.compared += 1;
            self.unrecorded += u64::from(played.unrecorded);
            self.active_micros = self.active_micros.saturating_add(exchange.micros);
            self.candidate_micros = self.candidate_micros.saturating_add(played.micros);
            if let ExchangeOutcome::Fault { class, .. } = &played.outcome {
                self.faulted += 1;
                *self.faults.entry(class.clone()).or_default() += 1;
            }
            if same(&exchange.outcome, &played.outcome) {
                self.same += 1;
            } else {
                self.different += 1;
                self.change(record, exchange, played);
            }
        }
        self.skipped += (record.exchanges.len() - played.len().min(record.exchanges.len())) as u64;
    }

    fn change(&mut self, record: &Record, exchange: &Exchange, played: &Played) {
        let (stage, from, to) = (
            exchange.question.stage(),
            Stand::of(&exchange.outcome),
            Stand::of(&played.outcome),
        );
        let known = |change: &Change| change.stage == stage && change.from == from && change.to == to;
        let index = match self.changes.iter().position(known) {
            Some(index) => index,
            None if self.changes.len() >= MAX_CHANGES => {
                self.more_changes += 1;
                return;
            }
            None => {
                self.changes.push(Change {
                    stage: stage.to_owned(),
                    from,
                    to,
                    count: 0,
                    examples: Vec::new(),
                });
                self.changes.len() - 1
            }
        };
        let Some(change) = self.changes.get_mut(index) else {
            return;
        };
        change.count += 1;
        if change.examples.len() < MAX_EXAMPLES {
            change.examples.push(Example {
                record: record.id,
                time: record.time,
                session: record.session,
                message: record.message,
                subject: exchange.question.subject(),
                unrecorded: played.unrecorded,
                from: exchange.outcome.clone(),
                to: played.outcome.clone(),
            });
        }
        // Kept sorted while growing: the most frequent first, and the older before the newer.
        let count = change.count;
        let earlier = self.changes.iter().take(index).position(|other| other.count < count);
        if let Some(earlier) = earlier {
            self.changes.swap(earlier, index);
        }
    }
}

impl Record {
    /// True if the record is complete enough for a replay.
    pub fn can_be_replayed(&self) -> bool {
        self.version == RECORD_VERSION && self.kept == Completeness::All
    }
}

fn same(one: &ExchangeOutcome, other: &ExchangeOutcome) -> bool {
    match (one, other) {
        (ExchangeOutcome::Pass, ExchangeOutcome::Pass) => true,
        (ExchangeOutcome::Decided { answer, because }, ExchangeOutcome::Decided { answer: a, because: b }) => {
            answer == a && because.rule == b.rule
        }
        (ExchangeOutcome::Fault { class, .. }, ExchangeOutcome::Fault { class: other, .. }) => class == other,
        _ => false,
    }
}

impl Stand {
    /// Summarises an outcome.
    pub fn of(outcome: &ExchangeOutcome) -> Self {
        let (verdict, rule) = match outcome {
            ExchangeOutcome::Pass => ("pass".to_owned(), String::new()),
            ExchangeOutcome::Decided { answer, because } => (answer.to_string(), because.rule.clone()),
            ExchangeOutcome::Fault { class, .. } => (format!("fault {class}"), String::new()),
        };
        Self {
            verdict: host_mail::cut(verdict, MAX_WORD),
            rule: host_mail::cut(rule, MAX_WORD),
        }
    }
}

/// Writes `verdict (rule)`.
impl std::fmt::Display for Stand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.verdict)?;
        if self.rule.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.rule)
    }
}
