//! The questions about connections and delivery failures, and the answers of the fault table. Used by the manager.

use std::sync::Arc;
use std::time::Duration;

use crate::evaluate::chain::{Chain, Module};
use crate::evaluate::evaluation::{Evaluation, Unanswered};
use crate::evaluate::evaluator::Evaluator;
use crate::evaluate::prepared_question::PreparedQuestion;
use host_config::AdmitFault;
use host_contract::{Admission, AdmissionTerms, Answered, Decision, Failure, NdrFault, Origin, Plan, Question, Reason};
use host_engine::component::Role;
use host_mail::{Client, Reply, SessionId};

/// Longest time that a notification waits for an instance; no client waits meanwhile.
const PLAN_WAIT: Duration = Duration::from_secs(30);

/// Asks the chain about a connection. Returns the first opinion, or admission on default terms.
pub(crate) async fn admit(
    evaluator: &Arc<Evaluator>,
    chain: Arc<Chain>,
    session: SessionId,
    client: &Client,
) -> Answered<Admission> {
    let mut evaluation = Evaluation::new(evaluator, Arc::clone(&chain), session_origin(session));
    evaluation.choose(Some(client.address));
    let client = Arc::new(client.clone());
    let question = PreparedQuestion::new(Question::Admit { client });
    if let Err(why) = evaluation.enter(question.role(), question.stage(), chain.wait).await {
        return refused(why);
    }
    let mut faulted = false;
    for position in 0..chain.modules.len() {
        let Some(generation) = evaluation.generation_for(position, question.role()) else {
            continue;
        };
        match evaluation.ask_with_fallback(position, &generation, &question).await {
            Ok(Some((Decision::Admission(answer), because))) => return decided(answer, because, faulted),
            Ok(_) => {}
            Err(Unanswered::Faulted) if chain.on_admit_fault(position) == AdmitFault::NotExempt => faulted = true,
            Err(why) => return refused(why),
        }
    }
    let terms = Admission::Admit(AdmissionTerms::default());
    if faulted {
        return Answered::by_fault_table(terms, reason(Unanswered::Faulted));
    }
    Answered::by_policy(terms, no_opinion(&chain.modules))
}

/// Asks the chain which notices a failure has. `None` is the host's standard report.
pub(crate) async fn plan(evaluator: &Arc<Evaluator>, chain: Arc<Chain>, failure: &Failure) -> Answered<Option<Plan>> {
    let origin = Origin {
        session: None,
        message: Some(failure.message),
    };
    let mut evaluation = Evaluation::new(evaluator, Arc::clone(&chain), origin);
    evaluation.choose(failure.client_address);
    let failure = Arc::new(failure.clone());
    let question = PreparedQuestion::new(Question::Plan { failure });
    match evaluation.first_opinion(&question, PLAN_WAIT).await {
        Ok(Some((Decision::Plan(plan), because))) => Answered::by_policy(Some(plan), because),
        Ok(_) => Answered::by_policy(None, no_opinion(&chain.modules)),
        Err(why) => Answered::by_fault_table(None, reason(why)),
    }
}

/// Returns the action on a fault of the first module that plans notices.
pub(crate) fn on_ndr_fault(chain: &Chain) -> NdrFault {
    let plans = |module: &Module| {
        let running = module.running.as_ref();
        running.is_ok_and(|generation| generation.serves(Role::Ndr))
    };
    chain.on_ndr_fault(chain.modules.iter().position(plans).unwrap_or(usize::MAX))
}

/// Builds the answer of an admission. After a fault, exemptions granted by other modules are dropped; their demands and
/// refusals hold.
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

fn refused(why: Unanswered) -> Answered<Admission> {
    Answered::by_fault_table(Admission::Refuse(reply(why, 421)), reason(why))
}

/// Returns the reply for an evaluation without an answer; `code` is 421 or 451.
pub(crate) fn reply(why: Unanswered, code: u16) -> Reply {
    match why {
        Unanswered::Faulted => Reply::new(code, (4, 3, 0), "The policy could not decide; try again later"),
        Unanswered::Overloaded => Reply::new(code, (4, 3, 2), "Too busy to decide; try again later"),
        Unanswered::Unavailable => Reply::new(code, (4, 3, 0), "No policy can be asked now; try again later"),
    }
}

/// Returns the reason for an evaluation without an answer.
pub(crate) fn reason(why: Unanswered) -> Reason {
    Reason::host(match why {
        Unanswered::Faulted => "policy-fault",
        Unanswered::Overloaded => "policy-overload",
        Unanswered::Unavailable => "policy-unavailable",
    })
}

/// Returns the reason of the host's default answer, given when no module has an opinion.
pub(crate) fn no_opinion(modules: &[Module]) -> Reason {
    Reason::host(if modules.is_empty() { "no-policy" } else { "no-opinion" })
}

pub(crate) fn session_origin(session: SessionId) -> Origin {
    Origin {
        session: Some(session),
        message: None,
    }
}
