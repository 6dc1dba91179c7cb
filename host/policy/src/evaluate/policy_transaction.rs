//! The policy side of a mail transaction: the questions at MAIL FROM, RCPT TO and after the final dot. Used by the
//! session through [`host_contract::Transaction`].

use std::sync::Arc;

use crate::evaluate::chain::Chain;
use crate::evaluate::evaluation::{Evaluation, Unanswered};
use crate::evaluate::evaluator::Evaluator;
use crate::evaluate::host_questions::{no_opinion, reason, reply, session_origin};
use crate::evaluate::prepared_question::{LiveQuestion, PreparedQuestion};
use futures_util::future::BoxFuture;
use host_contract::{Answered, Decision, Disposition, Question, Transaction, Verdict};
use host_directory::{Directory, LookupError};
use host_engine::message_view::{Arrival, MessageView};
use host_engine::to_wit::Parties;
use host_mail::{Client, Content, Envelope, Mailbox, MessageId, Reply, ReversePath, SessionId};

/// The questions of a mail transaction. Instances are kept to the end of the transaction, unless
/// [`Transaction::release`] gives them up earlier.
pub struct PolicyTransaction {
    evaluation: Evaluation,
    /// Set once a module faulted. The modules have lost their state of the transaction then.
    ended: Option<Unanswered>,
    /// The client and the reverse-path, set at the first question.
    participants: Option<Participants>,
}

/// The client and the reverse-path of a transaction, in the types of the host and of the contract. Both are constant.
#[derive(Clone)]
struct Participants {
    client: Arc<Client>,
    sender: Arc<ReversePath>,
    parties: Parties,
}

impl PolicyTransaction {
    pub(crate) fn new(evaluator: &Arc<Evaluator>, chain: Arc<Chain>, session: SessionId) -> Self {
        Self {
            evaluation: Evaluation::new(evaluator, chain, session_origin(session)),
            ended: None,
            participants: None,
        }
    }

    fn participants(&mut self, client: &Client, sender: &ReversePath) -> Participants {
        let convert = || Participants {
            client: Arc::new(client.clone()),
            sender: Arc::new(sender.clone()),
            parties: Parties::new(client, sender),
        };
        self.participants.get_or_insert_with(convert).clone()
    }

    /// Asks about MAIL FROM.
    pub async fn sender(&mut self, client: &Client, sender: &ReversePath) -> Answered<Verdict> {
        self.evaluation.choose(Some(client.address));
        let Participants {
            client,
            sender,
            parties,
        } = self.participants(client, sender);
        match self.ask(Question::Sender { client, sender }, &parties).await {
            Ok(Some((Decision::Verdict(answer), because))) => Answered::by_policy(answer, because),
            Ok(_) => self.no_opinion(Verdict::Accept),
            Err(why) => Answered::by_fault_table(Verdict::Defer(reply(why, 451)), reason(why)),
        }
    }

    /// Asks about RCPT TO.
    pub async fn recipient(&mut self, client: &Client, sender: &ReversePath, recipient: &Mailbox) -> Answered<Verdict> {
        self.evaluation.choose(Some(client.address));
        let participants = self.participants(client, sender);
        let question = Question::Recipient {
            client: participants.client,
            sender: participants.sender,
            recipient: recipient.clone(),
        };
        match self.ask(question, &participants.parties).await {
            Ok(Some((Decision::Verdict(answer), because))) => Answered::by_policy(answer, because),
            Ok(_) => {
                let answer = own_mail_only(self.evaluation.directory(), client, recipient).await;
                self.no_opinion(answer)
            }
            Err(why) => Answered::by_fault_table(Verdict::Defer(reply(why, 451)), reason(why)),
        }
    }

    /// Asks about the message after the final dot. Edits are validated here; the caller applies them.
    pub async fn message(
        &mut self,
        id: MessageId,
        client: &Client,
        envelope: &Envelope,
        content: Arc<dyn Content>,
    ) -> Answered<Disposition> {
        self.evaluation.choose(Some(client.address));
        self.evaluation.about(id);
        let message = MessageView::new(content).received_from(Arrival {
            address: client.address,
            helo: client.helo.clone(),
            sender: envelope.sender.clone(),
        });
        let participants = self.participants(client, &envelope.sender);
        let question = Question::Message {
            client: participants.client,
            envelope: Arc::new(envelope.clone()),
            message,
        };
        match self.ask(question, &participants.parties).await {
            Ok(Some((Decision::Disposition(answer), because))) => Answered::by_policy(answer, because),
            Ok(_) => self.no_opinion(Disposition::Accept(Vec::new())),
            Err(why) => Answered::by_fault_table(Disposition::Defer(reply(why, 451)), reason(why)),
        }
    }

    fn no_opinion<A>(&self, answer: A) -> Answered<A> {
        Answered::by_policy(answer, no_opinion(&self.evaluation.chain.modules))
    }

    /// Asks the chain. After a fault, the rest of the transaction is unanswered and no module is asked.
    async fn ask(
        &mut self,
        question: LiveQuestion,
        parties: &Parties,
    ) -> Result<Option<(Decision, host_contract::Reason)>, Unanswered> {
        if let Some(why) = self.ended {
            return Err(why);
        }
        let question = PreparedQuestion::of_transaction(question, parties);
        let wait = self.evaluation.chain.wait;
        let opinion = self.evaluation.first_opinion(&question, wait).await;
        self.ended = opinion
            .as_ref()
            .err()
            .copied()
            .filter(|why| *why == Unanswered::Faulted);
        opinion
    }
}

impl Transaction for PolicyTransaction {
    fn sender<'a>(&'a mut self, client: &'a Client, sender: &'a ReversePath) -> BoxFuture<'a, Answered<Verdict>> {
        Box::pin(self.sender(client, sender))
    }

    fn recipient<'a>(
        &'a mut self,
        client: &'a Client,
        sender: &'a ReversePath,
        recipient: &'a Mailbox,
    ) -> BoxFuture<'a, Answered<Verdict>> {
        Box::pin(self.recipient(client, sender, recipient))
    }

    fn message<'a>(
        &'a mut self,
        id: MessageId,
        client: &'a Client,
        envelope: &'a Envelope,
        content: Arc<dyn Content>,
    ) -> BoxFuture<'a, Answered<Disposition>> {
        Box::pin(self.message(id, client, envelope, content))
    }

    fn revoked(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.evaluation.revoked())
    }

    fn release(&mut self) {
        self.evaluation.release();
    }
}

/// Returns the default answer for a recipient on which no module has an opinion. The host is no open relay: mail for
/// other domains is accepted only from authenticated clients and clients exempt from `relay`.
async fn own_mail_only(directory: Arc<dyn Directory>, client: &Client, recipient: &Mailbox) -> Verdict {
    if client.identity.is_some() || client.exemptions.iter().any(|exemption| exemption == "relay") {
        return Verdict::Accept;
    }
    match is_for_here(&*directory, recipient).await {
        Ok(true) => Verdict::Accept,
        Ok(false) => Verdict::Reject(Reply::new(550, (5, 7, 1), "Relaying denied")),
        Err(error) => {
            tracing::warn!(%error, "relaying could not be decided");
            Verdict::Defer(Reply::new(451, (4, 3, 0), "Cannot tell now; try again later"))
        }
    }
}

async fn is_for_here(directory: &dyn Directory, address: &Mailbox) -> Result<bool, LookupError> {
    Ok(directory.is_local_domain(address.domain()).await? || !directory.lookup(address).await?.is_empty())
}
