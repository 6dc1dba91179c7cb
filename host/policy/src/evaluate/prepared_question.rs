//! Prepared questions: converted to the contract's types once, then put to each module. Used by evaluations, the
//! replayer and the harness.

use std::convert::Infallible;
use std::sync::Arc;

use host_contract::{Decision, Question};
use host_engine::bindings::posthouse::policy::types;
use host_engine::component::Role;
use host_engine::fault::CallFailed;
use host_engine::instance::Instance;
use host_engine::message_view::MessageView;
use host_engine::to_wit::{self, Parties};
use host_engine::validate::Opinion;

/// A question about a message that can be read.
pub type LiveQuestion = Question<MessageView>;

/// A question together with the converted parts.
pub(crate) struct PreparedQuestion {
    question: LiveQuestion,
    parts: Parts,
}

/// The parts of a question in the contract's types.
enum Parts {
    Admit(Arc<types::Client>),
    Parties(Parties),
    Message(Arc<types::Client>, Arc<types::Envelope>),
    Failure(Arc<types::Failure>),
}

impl PreparedQuestion {
    /// Converts every part.
    pub(crate) fn new(question: LiveQuestion) -> Self {
        let parts = match &question {
            Question::Admit { client } => Parts::Admit(to_wit::client(client)),
            Question::Sender { client, sender } | Question::Recipient { client, sender, .. } => {
                Parts::Parties(Parties::new(client, sender))
            }
            Question::Message { client, envelope, .. } => {
                Parts::Message(to_wit::client(client), Arc::new(to_wit::envelope(envelope)))
            }
            Question::Plan { failure } => Parts::Failure(to_wit::failure(failure)),
        };
        Self { question, parts }
    }

    /// Prepares a question of a transaction with client and sender that were converted before.
    pub(crate) fn of_transaction(question: LiveQuestion, parties: &Parties) -> Self {
        let parts = match &question {
            Question::Sender { .. } | Question::Recipient { .. } => Parts::Parties(parties.clone()),
            Question::Message { envelope, .. } => {
                Parts::Message(Arc::clone(&parties.client), Arc::new(to_wit::envelope(envelope)))
            }
            Question::Admit { .. } | Question::Plan { .. } => return Self::new(question),
        };
        Self { question, parts }
    }

    /// Returns the role of the modules that are asked.
    pub(crate) fn role(&self) -> Role {
        role(&self.question)
    }

    /// Returns the stage under the name used in events.
    pub(crate) fn stage(&self) -> &'static str {
        self.question.stage()
    }

    /// Returns the question without the converted parts.
    pub(crate) fn question(&self) -> &LiveQuestion {
        &self.question
    }

    /// Asks an instance. `None` is no opinion.
    pub(crate) async fn ask(&self, instance: &mut Instance) -> Result<Opinion<Decision>, CallFailed> {
        fn opinion<T: Into<Decision>>(opinion: Opinion<T>) -> Opinion<Decision> {
            opinion.map(|(answer, reason)| (answer.into(), reason))
        }
        Ok(match (&self.question, &self.parts) {
            (Question::Recipient { recipient, .. }, Parts::Parties(parties)) => {
                opinion(instance.recipient(parties, recipient.as_str()).await?)
            }
            (Question::Message { envelope, message, .. }, Parts::Message(client, converted)) => {
                opinion(instance.message(client, envelope, converted, message.clone()).await?)
            }
            (Question::Plan { failure }, Parts::Failure(converted)) => {
                // A plan has no `pass`: the first module that plans ends the evaluation.
                opinion(Some(instance.plan(converted, &failure.envelope.sender).await?))
            }
            (_, Parts::Admit(client)) => opinion(instance.admit(client).await?),
            (_, Parts::Parties(parties)) => opinion(instance.sender(parties).await?),
            // `new` and `of_transaction` do not pair these parts with such a question.
            (_, Parts::Message(..) | Parts::Failure(_)) => None,
        })
    }
}

/// Returns the role of the modules that answer a question.
pub(crate) fn role<M>(question: &Question<M>) -> Role {
    match question {
        Question::Admit { .. } => Role::Exemption,
        Question::Sender { .. } | Question::Recipient { .. } | Question::Message { .. } => Role::Homing,
        Question::Plan { .. } => Role::Ndr,
    }
}

/// Returns a recorded question about `message`, or about the recorded excerpt without `message`.
pub(crate) fn with_view(question: &Question, message: Option<MessageView>) -> Option<LiveQuestion> {
    match (question, message) {
        (Question::Message { .. }, None) => None,
        (question, message) => {
            let view = |excerpt: &host_contract::Excerpt| {
                let excerpt = || MessageView::new(Arc::new(excerpt.clone()));
                Ok::<_, Infallible>(message.unwrap_or_else(excerpt))
            };
            let Ok(live) = question.with_message(view);
            Some(live)
        }
    }
}
