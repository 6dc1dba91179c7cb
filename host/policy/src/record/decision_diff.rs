//! What another policy would have done: counts of what stays and what changes, and a few examples of
//! each change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::replayer::Played;
use crate::record::{Completeness, Exchange, ExchangeOutcome, RECORD_VERSION, Record};
use host_mail::{MessageId, RecordId, SessionId, Timestamp};

/// Examples kept of one change.
const EXAMPLES: usize = 3;
/// Kinds of changes that are kept apart; a policy may make up rules without end.
const CHANGES: usize = 200;
/// Bytes of a rule or verdict that are kept.
const WORD: usize = 120;

/// How the decisions of two policies compare. The entry that matched and what the policies logged are
/// not compared: they explain a decision, and are none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Comparison {
    /// Questions that both were asked.
    pub compared: u64,
    /// Same answer by the same rule.
    pub same: u64,
    /// Another answer, another rule, or a fault of one alone.
    pub different: u64,
    /// Of those compared: the candidate asked what had not been recorded, so that its answer is a guess.
    pub unrecorded: u64,
    /// Faults of the candidate.
    pub faulted: u64,
    /// Not compared: records that were kept hashed or in part, and what a fault left unasked.
    pub skipped: u64,
    /// Faults of the candidate by class.
    pub faults: BTreeMap<String, u64>,
    /// What changes, the most frequent first.
    pub changes: Vec<Change>,
    /// Differences of kinds for which there was no room in `changes`.
    pub more_changes: u64,
    /// What the questions that were compared took the active policy, in microseconds.
    pub active_micros: u64,
    /// What they took the candidate.
    pub candidate_micros: u64,
}

/// Decisions that change in the same way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// `admit`, `sender`, `recipient`, `message` or `ndr`.
    pub stage: String,
    /// The active policy's.
    pub from: Stand,
    /// The candidate's. The same as `from` if only details differ, such as a reply's text.
    pub to: Stand,
    /// How often.
    pub count: u64,
    /// The first few.
    pub examples: Vec<Example>,
}

/// A decision in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stand {
    /// `accept`, `reject 550 5.7.1`, `pass`, `fault panic` and the like.
    pub verdict: String,
    /// Empty for `pass` and for faults.
    pub rule: String,
}

/// One decision that changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Example {
    /// Its record; not every shadow's sample was recorded.
    pub record: RecordId,
    /// When.
    pub time: Timestamp,
    /// The connection.
    pub session: Option<SessionId>,
    /// The message.
    pub message: Option<MessageId>,
    /// What was asked about. Hostile: escape it before showing it.
    pub subject: String,
    /// The candidate's answer is a guess.
    pub unrecorded: bool,
    /// The active policy's.
    pub from: ExchangeOutcome,
    /// The candidate's.
    pub to: ExchangeOutcome,
}

impl Comparison {
    /// Whether anything would change.
    pub fn differs(&self) -> bool {
        self.different > 0
    }

    /// A record that cannot be compared.
    pub fn skip(&mut self, record: &Record) {
        self.skipped += record.exchanges.len() as u64;
    }

    /// Something that is no record of ours.
    pub fn skip_one(&mut self) {
        self.skipped += 1;
    }

    /// What was recorded against what was played.
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
        let place = match self.changes.iter().position(known) {
            Some(place) => place,
            None if self.changes.len() >= CHANGES => {
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
        let Some(change) = self.changes.get_mut(place) else {
            return;
        };
        change.count += 1;
        if change.examples.len() < EXAMPLES {
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
        // Sorted as it grows: the most frequent first, the older before the newer.
        let count = change.count;
        let better = self.changes.iter().take(place).position(|other| other.count < count);
        if let Some(better) = better {
            self.changes.swap(better, place);
        }
    }
}

impl Record {
    /// Whether another policy can be asked the same.
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
    /// In short.
    pub fn of(outcome: &ExchangeOutcome) -> Self {
        let (verdict, rule) = match outcome {
            ExchangeOutcome::Pass => ("pass".to_owned(), String::new()),
            ExchangeOutcome::Decided { answer, because } => (answer.to_string(), because.rule.clone()),
            ExchangeOutcome::Fault { class, .. } => (format!("fault {class}"), String::new()),
        };
        Self {
            verdict: host_mail::cut(verdict, WORD),
            rule: host_mail::cut(rule, WORD),
        }
    }
}

/// `verdict (rule)`.
impl std::fmt::Display for Stand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.verdict)?;
        if self.rule.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.rule)
    }
}
