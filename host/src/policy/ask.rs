//! The questions, and what the fault table answers when the chain cannot.

use std::sync::Arc;
use std::time::Duration;

use super::bindings::posthouse::policy::types;
use super::check::Opinion;
use super::component::Role;
use super::convert;
use super::decision::{Admission, Asked, Because, Disposition, Failure, Origin, Plan, Terms, Verdict};
use super::fault::Failed;
use super::imports::MessageView;
use super::instance::Instance;
use super::work::{Question, Unanswered, Work};
use super::{Policies, PolicyTransaction};
use crate::config::AdmitFault;
use crate::directory::{Directory, LookupError};
use crate::mail::{Client, Content, Envelope, Mailbox, MessageId, Reply, ReversePath, SessionId};

/// A notification keeps nobody waiting on a line, so it may wait for an instance.
const PLAN_WAIT: Duration = Duration::from_secs(30);

struct Admit {
    client: types::Client,
}

impl Question for Admit {
    type Answer = Admission;
    const ROLE: Role = Role::Exemption;
    const STAGE: &'static str = "admit";

    async fn put(&self, instance: &mut Instance) -> Result<Opinion<Admission>, Failed> {
        instance.admit(&self.client).await
    }
}

struct Sender {
    client: types::Client,
    sender: types::ReversePath,
}

impl Question for Sender {
    type Answer = Verdict;
    const ROLE: Role = Role::Homing;
    const STAGE: &'static str = "sender";

    async fn put(&self, instance: &mut Instance) -> Result<Opinion<Verdict>, Failed> {
        instance.sender(&self.client, &self.sender).await
    }
}

struct Recipient<'a> {
    client: types::Client,
    sender: types::ReversePath,
    recipient: &'a str,
}

impl Question for Recipient<'_> {
    type Answer = Verdict;
    const ROLE: Role = Role::Homing;
    const STAGE: &'static str = "recipient";

    async fn put(&self, instance: &mut Instance) -> Result<Opinion<Verdict>, Failed> {
        instance.recipient(&self.client, &self.sender, self.recipient).await
    }
}

struct Message<'a> {
    client: types::Client,
    envelope: &'a Envelope,
    said: types::Envelope,
    message: MessageView,
}

impl Question for Message<'_> {
    type Answer = Disposition;
    const ROLE: Role = Role::Homing;
    const STAGE: &'static str = "message";

    async fn put(&self, instance: &mut Instance) -> Result<Opinion<Disposition>, Failed> {
        let message = self.message.clone();
        instance.message(&self.client, self.envelope, &self.said, message).await
    }
}

struct Plans<'a> {
    failure: types::Failure,
    sender: &'a ReversePath,
}

/// There is no `pass` here: the first module that plans has planned.
impl Question for Plans<'_> {
    type Answer = Plan;
    const ROLE: Role = Role::Ndr;
    const STAGE: &'static str = "ndr";

    async fn put(&self, instance: &mut Instance) -> Result<Opinion<Plan>, Failed> {
        instance.plan(&self.failure, self.sender).await.map(Some)
    }
}

pub(super) async fn admit(policies: &Policies, session: SessionId, client: &Client) -> Asked<Admission> {
    let chain = policies.inner.chain.load_full();
    let question = Admit {
        client: convert::client(client),
    };
    let mut work = Work::new(&policies.inner.core, Arc::clone(&chain), session_origin(session));
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
    let because = if faulted {
        because(Unanswered::Faulted)
    } else {
        silence(&chain.modules)
    };
    Asked {
        answer: Admission::Admit(Terms::default()),
        because,
        fault: faulted,
    }
}

/// After a fault the client is exempt from nothing, whatever the other modules grant; what they
/// demand, and their refusals, hold.
fn decided(answer: Admission, because: Because, faulted: bool) -> Asked<Admission> {
    let answer = match answer {
        Admission::Admit(terms) if faulted => Admission::Admit(Terms {
            authentication: terms.authentication.filter(|must| *must),
            encryption: terms.encryption.filter(|must| *must),
            exemptions: Vec::new(),
        }),
        other => other,
    };
    Asked {
        answer,
        because,
        fault: faulted,
    }
}

pub(super) async fn plan(policies: &Policies, failure: &Failure) -> Asked<Option<Plan>> {
    let chain = policies.inner.chain.load_full();
    let question = Plans {
        failure: convert::failure(failure),
        sender: &failure.envelope.sender,
    };
    let origin = Origin {
        session: None,
        message: Some(failure.message),
    };
    let mut work = Work::new(&policies.inner.core, Arc::clone(&chain), origin);
    work.choose(failure.client_address);
    match work.first_opinion(&question, PLAN_WAIT).await {
        Ok(Some((plan, because))) => Asked {
            answer: Some(plan),
            because,
            fault: false,
        },
        Ok(None) => Asked {
            answer: None,
            because: silence(&chain.modules),
            fault: false,
        },
        Err(why) => Asked {
            answer: None,
            because: because(why),
            fault: true,
        },
    }
}

impl PolicyTransaction {
    pub(super) fn new(policies: &Policies, session: SessionId) -> Self {
        let chain = policies.inner.chain.load_full();
        Self {
            work: Work::new(&policies.inner.core, chain, session_origin(session)),
            ended: None,
        }
    }

    pub(super) async fn ask_sender(&mut self, client: &Client, sender: &ReversePath) -> Asked<Verdict> {
        self.work.choose(Some(client.address));
        let question = Sender {
            client: convert::client(client),
            sender: convert::reverse_path(sender),
        };
        let asked = self.ask(&question).await;
        asked.unwrap_or_else(|| self.accepted())
    }

    pub(super) async fn ask_recipient(
        &mut self,
        client: &Client,
        sender: &ReversePath,
        recipient: &Mailbox,
    ) -> Asked<Verdict> {
        self.work.choose(Some(client.address));
        let question = Recipient {
            client: convert::client(client),
            sender: convert::reverse_path(sender),
            recipient: recipient.as_str(),
        };
        match self.ask(&question).await {
            Some(asked) => asked,
            None => {
                let answer = own_mail_only(self.work.directory(), client, recipient).await;
                self.unopposed(answer)
            }
        }
    }

    pub(super) async fn ask_message(
        &mut self,
        id: MessageId,
        client: &Client,
        envelope: &Envelope,
        content: Arc<dyn Content>,
    ) -> Asked<Disposition> {
        self.work.choose(Some(client.address));
        self.work.about(id);
        let question = Message {
            client: convert::client(client),
            envelope,
            said: convert::envelope(envelope),
            message: MessageView::new(content),
        };
        let asked = self.ask(&question).await;
        asked.unwrap_or_else(|| self.accepted())
    }

    fn accepted<A: Deferrable>(&self) -> Asked<A> {
        self.unopposed(A::accept())
    }

    /// The host's own answer, where no module had one.
    fn unopposed<A>(&self, answer: A) -> Asked<A> {
        Asked {
            answer,
            because: silence(&self.work.chain.modules),
            fault: false,
        }
    }

    /// None if nobody has an opinion. After a fault the rest of the transaction is deferred without asking: the modules have lost
    /// what they knew of it.
    async fn ask<Q: Question<Answer: Deferrable>>(&mut self, question: &Q) -> Option<Asked<Q::Answer>> {
        let why = match self.ended {
            Some(why) => why,
            None => match self.work.first_opinion(question, self.work.chain.wait).await {
                Ok(opinion) => {
                    let (answer, because) = opinion?;
                    return Some(Asked {
                        answer,
                        because,
                        fault: false,
                    });
                }
                Err(why) => why,
            },
        };
        if why == Unanswered::Faulted {
            self.ended = Some(why);
        }
        Some(Asked {
            answer: Q::Answer::defer(reply(why, 451)),
            because: because(why),
            fault: true,
        })
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

fn refused(why: Unanswered) -> Asked<Admission> {
    Asked {
        answer: Admission::Refuse(reply(why, 421)),
        because: because(why),
        fault: true,
    }
}

fn reply(why: Unanswered, code: u16) -> Reply {
    match why {
        Unanswered::Faulted => Reply::new(code, (4, 3, 0), "The policy could not decide; try again later"),
        Unanswered::Overloaded => Reply::new(code, (4, 3, 2), "Too busy to decide; try again later"),
        Unanswered::Unavailable => Reply::new(code, (4, 3, 0), "No policy can be asked now; try again later"),
    }
}

fn because(why: Unanswered) -> Because {
    Because::host(match why {
        Unanswered::Faulted => "policy-fault",
        Unanswered::Overloaded => "policy-overload",
        Unanswered::Unavailable => "policy-unavailable",
    })
}

/// Nobody had an opinion.
fn silence(modules: &[super::chain::Module]) -> Because {
    Because::host(if modules.is_empty() { "no-policy" } else { "no-opinion" })
}

fn session_origin(session: SessionId) -> Origin {
    Origin {
        session: Some(session),
        message: None,
    }
}
