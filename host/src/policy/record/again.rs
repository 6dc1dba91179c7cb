//! A recorded question, put to an instance as the first time.

use crate::policy::chain::ask::{Admit, Message, Plans, Recipient, Sender};
use crate::policy::chain::work::Question as Ask;
use crate::policy::component::Role;
use crate::policy::sandbox::check::Opinion;
use crate::policy::sandbox::convert::{self, Parties};
use crate::policy::sandbox::fault::Failed;
use crate::policy::sandbox::imports::MessageView;
use crate::policy::sandbox::instance::Instance;
use host_contract::{Decision, Question};

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
            let said = convert::client(client);
            ask(instance, Message::new(client, envelope, view, said)).await
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
