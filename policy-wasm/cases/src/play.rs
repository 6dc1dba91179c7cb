//! The questions of a case in order, as a state machine. The caller asks the policy and passes the answers back; this
//! module neither waits nor calls.

use crate::case::{Case, Client, Failure, ReversePath};
use crate::case_decision::{Answer, Decision, Outcome};
use crate::case_message::Message;

/// A question to the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question<'c> {
    /// The question `exemption.admit`.
    Admit {
        /// The client right after its connection: without HELO argument, identity and exemptions.
        client: Client,
    },
    /// The question `homing.check-sender`.
    Sender {
        /// The client with its exemptions, which `admit` granted or the case gives.
        client: Client,
        /// The reverse-path.
        sender: &'c ReversePath,
    },
    /// The question `homing.check-recipient`.
    Recipient {
        /// The client with its exemptions.
        client: Client,
        /// The reverse-path.
        sender: &'c ReversePath,
        /// The forward-path of this RCPT.
        recipient: &'c str,
    },
    /// The question `homing.check-message`.
    Message {
        /// The client with its exemptions.
        client: Client,
        /// The reverse-path.
        sender: &'c ReversePath,
        /// Recipients that were not refused.
        recipients: Vec<String>,
        /// The message.
        message: &'c Message,
    },
    /// The question `ndr.plan`.
    Plan {
        /// The failed delivery.
        failure: &'c Failure,
    },
}

/// Position of a play: the stage that is asked next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Admit,
    Sender,
    Recipient(usize),
    Message,
    Plan,
    End,
}

/// The execution of a case. Take a question and pass its answer back, until there is no question.
///
/// ```
/// use posthouse_cases::{Answer, Because, CaseFile, Decision, Play};
///
/// let file = CaseFile::parse("case = [{ name = \"a\", sender = \"<>\", expect = { sender = \"accept\" } }]", "cases.toml")?;
/// let case = &file.cases[0];
/// let mut play = Play::new(case);
/// while let Some(_question) = play.question() {
///     play.answer(Some(Answer { decision: Decision::Accept(vec![]), because: Because::default() }));
/// }
/// assert!(case.compare(&play.outcome()).is_empty());
/// # Ok::<(), posthouse_cases::Error>(())
/// ```
#[derive(Debug)]
pub struct Play<'c> {
    case: &'c Case,
    position: Position,
    granted: Vec<String>,
    outcome: Outcome,
}

impl<'c> Play<'c> {
    /// Starts a case before its first question.
    pub fn new(case: &'c Case) -> Self {
        let mut play = Self {
            case,
            position: Position::Admit,
            granted: Vec::new(),
            outcome: Outcome::default(),
        };
        let begins_after_banner = case.client.as_ref().is_none_or(|client| client.exemptions.is_some());
        if case.client.is_none() || (begins_after_banner && case.expect.admit.is_none()) {
            play.position = play.after_admit();
        }
        play
    }

    /// Returns the next question; `None` at the end of the case.
    pub fn question(&self) -> Option<Question<'c>> {
        let sender = self.case.sender.as_ref();
        Some(match self.position {
            Position::Admit => {
                let mut client = self.case.client.clone()?;
                client.helo = None;
                client.identity = None;
                client.exemptions = None;
                Question::Admit { client }
            }
            Position::Sender => Question::Sender {
                client: self.client()?,
                sender: sender?,
            },
            Position::Recipient(index) => Question::Recipient {
                client: self.client()?,
                sender: sender?,
                recipient: self.case.recipients.get(index)?,
            },
            Position::Message => Question::Message {
                client: self.client()?,
                sender: sender?,
                recipients: self.accepted(),
                message: self.case.message.as_ref()?,
            },
            Position::Plan => Question::Plan {
                failure: self.case.failure.as_ref()?,
            },
            Position::End => return None,
        })
    }

    /// Records the answer to [`Self::question`] and advances; `None` if the policy does not have the role.
    pub fn answer(&mut self, answer: Option<Answer>) {
        let refused = answer.as_ref().is_some_and(|answer| answer.decision.is_refusal());
        let next = match self.position {
            Position::Admit => {
                if let Some(Decision::Admit(terms)) = answer.as_ref().map(|answer| &answer.decision) {
                    self.granted.clone_from(&terms.exemptions);
                }
                self.outcome.admit = answer;
                if refused { Position::Plan } else { self.after_admit() }
            }
            Position::Sender => {
                self.outcome.sender = answer;
                if refused {
                    Position::Plan
                } else {
                    Position::Recipient(0)
                }
            }
            Position::Recipient(index) => {
                let fault = matches!(
                    &answer,
                    Some(Answer {
                        decision: Decision::Fault { .. },
                        ..
                    })
                );
                if let (Some(answer), Some(recipient)) = (answer, self.case.recipients.get(index)) {
                    self.outcome.recipients.push((recipient.clone(), answer));
                }
                // A fault ends the transaction.
                if fault {
                    Position::Plan
                } else {
                    Position::Recipient(index + 1)
                }
            }
            Position::Message => {
                self.outcome.message = answer;
                Position::Plan
            }
            Position::Plan | Position::End => {
                self.outcome.ndr = answer;
                Position::End
            }
        };
        self.position = self.skip(next);
    }

    /// Returns the answers so far.
    pub fn outcome(self) -> Outcome {
        self.outcome
    }

    fn after_admit(&self) -> Position {
        self.skip(if self.case.sender.is_some() {
            Position::Sender
        } else {
            Position::Plan
        })
    }

    /// Returns the position, or the next position for which the case has a question.
    fn skip(&self, position: Position) -> Position {
        match position {
            Position::Recipient(index) if index >= self.case.recipients.len() => self.skip(Position::Message),
            Position::Message if self.case.message.is_none() || self.accepted().is_empty() => self.skip(Position::Plan),
            Position::Plan if self.case.failure.is_none() => Position::End,
            position => position,
        }
    }

    fn client(&self) -> Option<Client> {
        let mut client = self.case.client.clone()?;
        client.exemptions.get_or_insert_with(|| self.granted.clone());
        Some(client)
    }

    /// Returns the recipients that were not refused.
    fn accepted(&self) -> Vec<String> {
        let refused = |recipient: &&String| {
            let answers = &self.outcome.recipients;
            answers
                .iter()
                .any(|(address, answer)| address == *recipient && answer.decision.is_refusal())
        };
        self.case
            .recipients
            .iter()
            .filter(|recipient| !refused(recipient))
            .cloned()
            .collect()
    }
}
