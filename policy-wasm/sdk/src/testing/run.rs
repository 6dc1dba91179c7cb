//! Native execution of a case.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use posthouse_cases::{Answer, Case, CaseFile, Outcome, Play, Problem, Question};

use crate::export::Exported;
use crate::host::Host;
use crate::message_reader::Message;
use crate::settings::Settings;
use crate::{Envelope, Failure};

/// Runs a case and returns its outcome, without a comparison. A panic is a fault, as in the host.
pub fn run<P: Exported>(file: &CaseFile, case: &Case) -> Outcome {
    let settings = file.settings_of(case).to_string();
    let policy = match P::configure(Settings::new(&settings)) {
        Ok(policy) => policy,
        Err(problems) => {
            let problem = |problem: crate::Problem| Problem {
                key: problem.key,
                text: problem.text,
            };
            return Outcome {
                problems: problems.into_iter().map(problem).collect(),
                ..Outcome::default()
            };
        }
    };
    let host = Host::from(file.fixture(case));
    let mut play = Play::new(case);
    while let Some(question) = play.question() {
        let answer = catch_unwind(AssertUnwindSafe(|| ask(&policy, &question, &host)));
        play.answer(answer.unwrap_or_else(|panic| Some(Answer::fault("panic", text_of(&*panic)))));
    }
    Outcome {
        log: host.logged(),
        ..play.outcome()
    }
}

fn ask<P: Exported>(policy: &P, question: &Question<'_>, host: &Host) -> Option<Answer> {
    match question {
        Question::Admit { client } => policy.ask_admit(&client.into(), host).map(Into::into),
        Question::Sender { client, sender } => policy
            .ask_sender(&client.into(), &(*sender).into(), host)
            .map(Into::into),
        Question::Recipient {
            client,
            sender,
            recipient,
        } => {
            let sender = (*sender).into();
            policy
                .ask_recipient(&client.into(), &sender, recipient, host)
                .map(Into::into)
        }
        Question::Message {
            client,
            sender,
            recipients,
            message,
        } => {
            let envelope = Envelope {
                sender: (*sender).into(),
                recipients: recipients.clone(),
            };
            let message = Message::from(*message);
            policy
                .ask_message(&client.into(), &envelope, &message, host)
                .map(Into::into)
        }
        Question::Plan { failure } => policy.ask_plan(&Failure::from(*failure), host).map(Into::into),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

/// Returns the cited rules that the policy does not describe.
pub(super) fn undeclared_rules<P: Exported>(outcome: &Outcome) -> Vec<String> {
    let known = P::describe().rules;
    let single = [&outcome.admit, &outcome.sender, &outcome.message, &outcome.ndr];
    let answers = single
        .into_iter()
        .flatten()
        .chain(outcome.recipients.iter().map(|(_, answer)| answer));
    let is_decision = |answer: &&Answer| {
        !matches!(
            answer.decision,
            posthouse_cases::Decision::Pass | posthouse_cases::Decision::Fault { .. }
        )
    };
    let cited = answers.filter(is_decision).map(|answer| &answer.because.rule);
    cited
        .filter(|rule| known.iter().all(|declared| declared.name != rule.as_str()))
        .cloned()
        .collect()
}
