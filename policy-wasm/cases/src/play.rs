//! The questions of a case, in order. Whoever asks them brings the answers back, in its own way and
//! time: nothing here waits or calls.

use crate::case::{Case, Client, Failure, ReversePath};
use crate::decision::{Answer, Decision, Outcome};
use crate::message::Message;

/// One question to the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question<'c> {
    /// `exemption.admit`.
    Admit {
        /// Without HELO, identity and exemptions: it has just connected.
        client: Client,
    },
    /// `homing.check-sender`.
    Sender {
        /// With what `admit` exempted it from; so with the next two.
        client: Client,
        /// Who.
        sender: &'c ReversePath,
    },
    /// `homing.check-recipient`.
    Recipient {
        /// Who asks.
        client: Client,
        /// From whom.
        sender: &'c ReversePath,
        /// To whom.
        recipient: &'c str,
    },
    /// `homing.check-message`.
    Message {
        /// Who asks.
        client: Client,
        /// From whom.
        sender: &'c ReversePath,
        /// Those that were accepted.
        recipients: Vec<String>,
        /// What.
        message: &'c Message,
    },
    /// `ndr.plan`.
    Plan {
        /// What went wrong.
        failure: &'c Failure,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Admit,
    Sender,
    Recipient(usize),
    Message,
    Plan,
    End,
}

/// A case being played: take a question, bring its answer, until there is none.
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
    at: At,
    granted: Vec<String>,
    outcome: Outcome,
}

impl<'c> Play<'c> {
    /// Before the first question.
    pub fn new(case: &'c Case) -> Self {
        let mut play = Self {
            case,
            at: At::Admit,
            granted: Vec::new(),
            outcome: Outcome::default(),
        };
        let begins_later = case.client.as_ref().is_none_or(|client| client.exemptions.is_some());
        if case.client.is_none() || (begins_later && case.expect.admit.is_none()) {
            play.at = play.after_admit();
        }
        play
    }

    /// The next question; none when everything was asked.
    pub fn question(&self) -> Option<Question<'c>> {
        let sender = self.case.sender.as_ref();
        Some(match self.at {
            At::Admit => {
                let mut client = self.case.client.clone()?;
                client.helo = None;
                client.identity = None;
                client.exemptions = None;
                Question::Admit { client }
            }
            At::Sender => Question::Sender {
                client: self.client()?,
                sender: sender?,
            },
            At::Recipient(index) => Question::Recipient {
                client: self.client()?,
                sender: sender?,
                recipient: self.case.recipients.get(index)?,
            },
            At::Message => Question::Message {
                client: self.client()?,
                sender: sender?,
                recipients: self.accepted(),
                message: self.case.message.as_ref()?,
            },
            At::Plan => Question::Plan {
                failure: self.case.failure.as_ref()?,
            },
            At::End => return None,
        })
    }

    /// The answer to [`Self::question`]; none if the policy has no such role.
    pub fn answer(&mut self, answer: Option<Answer>) {
        let refused = answer.as_ref().is_some_and(|answer| answer.decision.is_refusal());
        let next = match self.at {
            At::Admit => {
                if let Some(Decision::Admit(terms)) = answer.as_ref().map(|answer| &answer.decision) {
                    self.granted.clone_from(&terms.exemptions);
                }
                self.outcome.admit = answer;
                if refused { At::Plan } else { self.after_admit() }
            }
            At::Sender => {
                self.outcome.sender = answer;
                if refused { At::Plan } else { At::Recipient(0) }
            }
            At::Recipient(index) => {
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
                if fault { At::Plan } else { At::Recipient(index + 1) }
            }
            At::Message => {
                self.outcome.message = answer;
                At::Plan
            }
            At::Plan | At::End => {
                self.outcome.ndr = answer;
                At::End
            }
        };
        self.at = self.skip(next);
    }

    /// What happened.
    pub fn outcome(self) -> Outcome {
        self.outcome
    }

    fn after_admit(&self) -> At {
        self.skip(if self.case.sender.is_some() {
            At::Sender
        } else {
            At::Plan
        })
    }

    /// The next question that the case has.
    fn skip(&self, at: At) -> At {
        match at {
            At::Recipient(index) if index >= self.case.recipients.len() => self.skip(At::Message),
            At::Message if self.case.message.is_none() || self.accepted().is_empty() => self.skip(At::Plan),
            At::Plan if self.case.failure.is_none() => At::End,
            at => at,
        }
    }

    fn client(&self) -> Option<Client> {
        let mut client = self.case.client.clone()?;
        client.exemptions.get_or_insert_with(|| self.granted.clone());
        Some(client)
    }

    /// A recipient is accepted unless it was refused.
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
