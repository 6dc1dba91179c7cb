//! A recorded question, put to an instance as the first time.

use crate::evaluate::ask::{Admit, Message, Plans, Recipient, Sender};
use crate::evaluate::evaluation::Question as Ask;
use host_contract::{Decision, Question};
use host_engine::component::Role;
use host_engine::fault::CallFailed;
use host_engine::instance::Instance;
use host_engine::message_view::MessageView;
use host_engine::to_wit::{self, Parties};
use host_engine::validate::Opinion;

/// The role a module plays who is asked this.
pub(crate) fn role(question: &Question) -> Role {
    match question {
        Question::Admit { .. } => Admit::ROLE,
        Question::Sender { .. } => Sender::ROLE,
        Question::Recipient { .. } => Recipient::ROLE,
        Question::Message { .. } => Message::ROLE,
        Question::Plan { .. } => Plans::ROLE,
    }
}

/// Asks. A question about a message is asked with `view` of it.
pub(crate) async fn put(
    instance: &mut Instance,
    question: &Question,
    view: Option<MessageView>,
) -> Result<Opinion<Decision>, CallFailed> {
    match (question, view) {
        (Question::Admit { client }, _) => ask(instance, Admit::new(client)).await,
        (Question::Sender { client, sender }, _) => {
            ask(instance, Sender::new(client, sender, Parties::new(client, sender))).await
        }
        (
            Question::Recipient {
                client,
                sender,
                recipient,
            },
            _,
        ) => {
            ask(
                instance,
                Recipient::new(client, sender, recipient, Parties::new(client, sender)),
            )
            .await
        }
        (Question::Message { client, envelope, .. }, Some(view)) => {
            let said = to_wit::client(client);
            ask(instance, Message::new(client, envelope, view, said)).await
        }
        // Nobody asks about a message without one.
        (Question::Message { .. }, None) => Ok(None),
        (Question::Plan { failure }, _) => ask(instance, Plans::new(failure)).await,
    }
}

async fn ask<Q: Ask>(instance: &mut Instance, question: Q) -> Result<Opinion<Decision>, CallFailed> {
    let opinion = question.put(instance).await?;
    Ok(opinion.map(|(answer, because)| (answer.into(), because)))
}
