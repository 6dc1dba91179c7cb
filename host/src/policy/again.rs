//! A recorded question, put to an instance as the first time.

use super::ask::{Admit, Message, Plans, Recipient, Sender};
use super::check::Opinion;
use super::component::Role;
use super::fault::Failed;
use super::imports::MessageView;
use super::instance::Instance;
use super::record::{Decision, Question};
use super::work::Question as Ask;

/// The role a module plays who is asked this.
pub(super) fn role(question: &Question) -> Role {
    match question {
        Question::Admit { .. } => Admit::ROLE,
        Question::Sender { .. } => Sender::ROLE,
        Question::Recipient { .. } => Recipient::ROLE,
        Question::Message { .. } => Message::ROLE,
        Question::Plan { .. } => Plans::ROLE,
    }
}

/// Asks. A question about a message is asked with `view` of it.
pub(super) async fn put(
    instance: &mut Instance,
    question: &Question,
    view: Option<MessageView>,
) -> Result<Opinion<Decision>, Failed> {
    match (question, view) {
        (Question::Admit { client }, _) => ask(instance, Admit::new(client)).await,
        (Question::Sender { client, sender }, _) => ask(instance, Sender::new(client, sender)).await,
        (
            Question::Recipient {
                client,
                sender,
                recipient,
            },
            _,
        ) => ask(instance, Recipient::new(client, sender, recipient)).await,
        (Question::Message { client, envelope, .. }, Some(view)) => {
            ask(instance, Message::new(client, envelope, view)).await
        }
        // Nobody asks about a message without one.
        (Question::Message { .. }, None) => Ok(None),
        (Question::Plan { failure }, _) => ask(instance, Plans::new(failure)).await,
    }
}

async fn ask<Q: Ask>(instance: &mut Instance, question: Q) -> Result<Opinion<Decision>, Failed> {
    let opinion = question.put(instance).await?;
    Ok(opinion.map(|(answer, because)| (answer.into(), because)))
}
