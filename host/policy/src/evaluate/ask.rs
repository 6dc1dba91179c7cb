//! The questions, and what the fault table answers when the chain cannot.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::evaluate::evaluation::{Evaluation, Question, Unanswered};
use crate::{Policies, PolicyTransaction};
use host_config::AdmitFault;
use host_contract::{Admission, AdmissionTerms, Answered, Disposition, Failure, Origin, Plan, Reason, Verdict};
use host_directory::{Directory, LookupError};
use host_engine::bindings::posthouse::policy::types;
use host_engine::component::Role;
use host_engine::fault::CallFailed;
use host_engine::generation::Generation;
use host_engine::instance::Instance;
use host_engine::message_view::Arrival;
use host_engine::message_view::MessageView;
use host_engine::runtime::Runtime;
use host_engine::to_wit::{self, Parties};
use host_engine::validate::Opinion;
use host_mail::{Client, Content, Envelope, Mailbox, MessageId, Reply, ReversePath, SessionId};

/// A notification keeps nobody waiting on a line, so it may wait for an instance.
const PLAN_WAIT: Duration = Duration::from_secs(30);

pub(crate) struct Admit<'a> {
    client: &'a Client,
    /// Told only if somebody has to be asked.
    said: OnceLock<Arc<types::Client>>,
    /// What an admission may depend on.
    known: Client,
}

impl<'a> Admit<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self {
            said: OnceLock::new(),
            known: Client {
                port: 0,
                ..client.clone()
            },
            client,
        }
    }
}

impl Question for Admit<'_> {
    type Answer = Admission;
    const ROLE: Role = Role::Exemption;
    const STAGE: &'static str = "admit";

    async fn put(&self, instance: &mut Instance) -> Result<Opinion<Admission>, CallFailed> {
        let said = self.said.get_or_init(|| to_wit::client(self.client));
        instance.admit(said).await
    }

    fn recorded(&self, _: u64) -> Result<host_contract::Question, std::io::Error> {
        let client = self.client.clone();
        Ok(host_contract::Question::Admit { client })
    }

    fn remembered(&self, generation: &Generation) -> Option<Opinion<Admission>> {
        generation.admissions.of(&self.known)
    }

    fn remember(&self, runtime: &Runtime, generation: &Generation, opinion: &Opinion<Admission>) {
        if let Some(capacity) = runtime.remembered_admissions() {
            let client = self.known.clone();
            generation.admissions.remember(capacity, client, opinion.clone());
        }
    }
}

pub(crate) struct Sender<'a> {
    client: &'a Client,
    sender: &'a ReversePath,
    said: Parties,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(client: &'a Client, sender: &'a ReversePath, said: Parties) -> Self {
        Self { client, sender, said }
    }
}

impl Question for Sender<'_> {
    type Answer = Verdict;
    const ROLE: Role = Role::Homing;
    const STAGE: &'static str = "sender";

    async fn put(&self, instance: &mut Instance) -> Result<Opinion<Verdict>, CallFailed> {
        instance.sender(&self.said).await
    }

    fn recorded(&self, _: u64) -> Result<host_contract::Question, std::io::Error> {
        Ok(host_contract::Question::Sender {
            client: self.client.clone(),
            sender: self.sender.clone(),
        })
    }
}

pub(crate) struct Recipient<'a> {
    client: &'a Client,
    sender: &'a ReversePath,
    recipient: &'a Mailbox,
    said: Parties,
}

impl<'a> Recipient<'a> {
    pub(crate) fn new(client: &'a Client, sender: &'a ReversePath, recipient: &'a Mailbox, said: Parties) -> Self {
        Self {
            client,
            sender,
            recipient,
            said,
        }
    }
}

impl Question for Recipient<'_> {
    type Answer = Verdict;
    const ROLE: Role = Role::Homing;
    const STAGE: &'static str = "recipient";

    async fn put(&self, instance: &mut Instance) -> Result<Opinion<Verdict>, CallFailed> {
        instance.recipient(&self.said, self.recipient.as_str()).await
    }

    fn recorded(&self, _: u64) -> Result<host_contract::Question, std::io::Error> {
        Ok(host_contract::Question::Recipient {
            client: self.client.clone(),
            sender: self.sender.clone(),
            recipient: self.recipient.clone(),
        })
    }
}

pub(crate) struct Message<'a> {
    client: &'a Client,
    envelope: &'a Envelope,
    said: (Arc<types::Client>, Arc<types::Envelope>),
    message: MessageView,
}

impl<'a> Message<'a> {
    pub(crate) fn new(
        client: &'a Client,
        envelope: &'a Envelope,
        message: MessageView,
        said: Arc<types::Client>,
    ) -> Self {
        Self {
            said: (said, Arc::new(to_wit::envelope(envelope))),
            client,
            envelope,
            message,
        }
    }
}

impl Question for Message<'_> {
    type Answer = Disposition;
    const ROLE: Role = Role::Homing;
    const STAGE: &'static str = "message";

    async fn put(&self, instance: &mut Instance) -> Result<Opinion<Disposition>, CallFailed> {
        let message = self.message.clone();
        let (client, said) = &self.said;
        instance.message(client, self.envelope, said, message).await
    }

    fn recorded(&self, body: u64) -> Result<host_contract::Question, std::io::Error> {
        Ok(host_contract::Question::Message {
            client: self.client.clone(),
            envelope: self.envelope.clone(),
            message: self.message.excerpt(body)?,
        })
    }

    fn message(&self) -> Option<&MessageView> {
        Some(&self.message)
    }
}

pub(crate) struct Plans<'a> {
    failure: &'a Failure,
    said: Arc<types::Failure>,
}

impl<'a> Plans<'a> {
    pub(crate) fn new(failure: &'a Failure) -> Self {
        Self {
            said: to_wit::failure(failure),
            failure,
        }
    }
}

/// There is no `pass` here: the first module that plans has planned.
impl Question for Plans<'_> {
    type Answer = Plan;
    const ROLE: Role = Role::Ndr;
    const STAGE: &'static str = "ndr";

    async fn put(&self, instance: &mut Instance) -> Result<Opinion<Plan>, CallFailed> {
        let sender = &self.failure.envelope.sender;
        instance.plan(&self.said, sender).await.map(Some)
    }

    fn recorded(&self, _: u64) -> Result<host_contract::Question, std::io::Error> {
        let failure = Box::new(self.failure.clone());
        Ok(host_contract::Question::Plan { failure })
    }
}

pub(crate) async fn admit(policies: &Policies, session: SessionId, client: &Client) -> Answered<Admission> {
    let chain = policies.inner.chain.load_full();
    let question = Admit::new(client);
    let mut work = Evaluation::new(&policies.inner.core, Arc::clone(&chain), session_origin(session));
    work.choose(Some(client.address));
    if let Err(why) = work.enter(Admit::ROLE, Admit::STAGE, chain.wait).await {
        return refused(why);
    }
    let mut faulted = false;
    for place in 0..chain.modules.len() {
        let Some(generation) = work.serving(place, Admit::ROLE) else {
            continue;
        };
        match work.ask_at_the_door(place, &generation, &question).await {
            Ok(None) => {}
            Ok(Some((answer, because))) => return decided(answer, because, faulted),
            Err(Unanswered::Faulted) if chain.on_admit_fault(place) == AdmitFault::NotExempt => faulted = true,
            Err(why) => return refused(why),
        }
    }
    let terms = Admission::Admit(AdmissionTerms::default());
    if faulted {
        return Answered::faulted(terms, because(Unanswered::Faulted));
    }
    Answered::answered(terms, silence(&chain.modules))
}

/// After a fault the client is exempt from nothing, whatever the other modules grant; what they
/// demand, and their refusals, hold.
fn decided(answer: Admission, because: Reason, faulted: bool) -> Answered<Admission> {
    let answer = match answer {
        Admission::Admit(terms) if faulted => Admission::Admit(AdmissionTerms {
            authentication: terms.authentication.filter(|must| *must),
            encryption: terms.encryption.filter(|must| *must),
            exemptions: Arc::default(),
        }),
        other => other,
    };
    Answered {
        answer,
        because,
        fault: faulted,
    }
}

pub(crate) async fn plan(policies: &Policies, failure: &Failure) -> Answered<Option<Plan>> {
    let chain = policies.inner.chain.load_full();
    let question = Plans::new(failure);
    let origin = Origin {
        session: None,
        message: Some(failure.message),
    };
    let mut work = Evaluation::new(&policies.inner.core, Arc::clone(&chain), origin);
    work.choose(failure.client_address);
    match work.first_opinion(&question, PLAN_WAIT).await {
        Ok(Some((plan, because))) => Answered::answered(Some(plan), because),
        Ok(None) => Answered::answered(None, silence(&chain.modules)),
        Err(why) => Answered::faulted(None, because(why)),
    }
}

impl PolicyTransaction {
    pub(crate) fn new(policies: &Policies, session: SessionId) -> Self {
        let chain = policies.inner.chain.load_full();
        Self {
            work: Evaluation::new(&policies.inner.core, chain, session_origin(session)),
            ended: None,
            parties: None,
        }
    }

    /// The client and the reverse-path in the contract's words: no transaction changes them, and each question has them.
    fn parties(&mut self, client: &Client, sender: &ReversePath) -> Parties {
        self.parties.get_or_insert_with(|| Parties::new(client, sender)).clone()
    }

    /// MAIL FROM.
    pub async fn sender(&mut self, client: &Client, sender: &ReversePath) -> Answered<Verdict> {
        self.work.choose(Some(client.address));
        let question = Sender::new(client, sender, self.parties(client, sender));
        let asked = self.ask(&question).await;
        asked.unwrap_or_else(|| self.accepted())
    }

    /// RCPT TO.
    pub async fn recipient(&mut self, client: &Client, sender: &ReversePath, recipient: &Mailbox) -> Answered<Verdict> {
        self.work.choose(Some(client.address));
        let question = Recipient::new(client, sender, recipient, self.parties(client, sender));
        match self.ask(&question).await {
            Some(asked) => asked,
            None => {
                let answer = own_mail_only(self.work.directory(), client, recipient).await;
                self.unopposed(answer)
            }
        }
    }

    /// After the final dot. Edits are checked; applying them is the caller's.
    pub async fn message(
        &mut self,
        id: MessageId,
        client: &Client,
        envelope: &Envelope,
        content: Arc<dyn Content>,
    ) -> Answered<Disposition> {
        self.work.choose(Some(client.address));
        self.work.about(id);
        let message = MessageView::new(content).received_from(Arrival {
            address: client.address,
            helo: client.helo.clone(),
            sender: envelope.sender.clone(),
        });
        let said = self.parties(client, &envelope.sender).client;
        let question = Message::new(client, envelope, message, said);
        let asked = self.ask(&question).await;
        asked.unwrap_or_else(|| self.accepted())
    }

    fn accepted<A: Deferrable>(&self) -> Answered<A> {
        self.unopposed(A::accept())
    }

    /// The host's own answer, where no module had one.
    fn unopposed<A>(&self, answer: A) -> Answered<A> {
        Answered::answered(answer, silence(&self.work.chain.modules))
    }

    /// None if nobody has an opinion. After a fault the rest of the transaction is deferred without asking: the modules have lost
    /// what they knew of it.
    async fn ask<Q: Question<Answer: Deferrable>>(&mut self, question: &Q) -> Option<Answered<Q::Answer>> {
        let why = match self.ended {
            Some(why) => why,
            None => match self.work.first_opinion(question, self.work.chain.wait).await {
                Ok(opinion) => {
                    let (answer, because) = opinion?;
                    return Some(Answered::answered(answer, because));
                }
                Err(why) => why,
            },
        };
        if why == Unanswered::Faulted {
            self.ended = Some(why);
        }
        Some(Answered::faulted(Q::Answer::defer(reply(why, 451)), because(why)))
    }
}

/// Nobody had an opinion on a recipient. That must not make an open relay: mail for elsewhere is
/// taken from clients that authenticated or were exempted, mail for here from everybody.
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

/// Answers of the homing stage.
trait Deferrable {
    fn accept() -> Self;
    fn defer(reply: Reply) -> Self;
}

impl Deferrable for Verdict {
    fn accept() -> Self {
        Self::Accept
    }

    fn defer(reply: Reply) -> Self {
        Self::Defer(reply)
    }
}

impl Deferrable for Disposition {
    fn accept() -> Self {
        Self::Accept(Vec::new())
    }

    fn defer(reply: Reply) -> Self {
        Self::Defer(reply)
    }
}

fn refused(why: Unanswered) -> Answered<Admission> {
    Answered::faulted(Admission::Refuse(reply(why, 421)), because(why))
}

fn reply(why: Unanswered, code: u16) -> Reply {
    match why {
        Unanswered::Faulted => Reply::new(code, (4, 3, 0), "The policy could not decide; try again later"),
        Unanswered::Overloaded => Reply::new(code, (4, 3, 2), "Too busy to decide; try again later"),
        Unanswered::Unavailable => Reply::new(code, (4, 3, 0), "No policy can be asked now; try again later"),
    }
}

fn because(why: Unanswered) -> Reason {
    Reason::host(match why {
        Unanswered::Faulted => "policy-fault",
        Unanswered::Overloaded => "policy-overload",
        Unanswered::Unavailable => "policy-unavailable",
    })
}

/// Nobody had an opinion.
fn silence(modules: &[crate::evaluate::chain::Module]) -> Reason {
    Reason::host(if modules.is_empty() { "no-policy" } else { "no-opinion" })
}

fn session_origin(session: SessionId) -> Origin {
    Origin {
        session: Some(session),
        message: None,
    }
}
