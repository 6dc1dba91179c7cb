//! Implementation of the contract's exports by a policy.

use super::{Exported, Glue};
use crate::__bindings::exemption::exports::posthouse::policy::exemption;
use crate::__bindings::homing::exports::posthouse::policy::homing;
use crate::__bindings::imports::posthouse::policy::{message as handle, types};
use crate::__bindings::lifecycle::exports::posthouse::policy::lifecycle;
use crate::__bindings::ndr::exports::posthouse::policy::ndr;
use crate::roles::{Exemption, Homing, Ndr};
use crate::{Host, Message, Policy, Settings};

/// Asks the policy that `configure` made.
///
/// # Panics
/// The instance is not configured.
fn ask<P: Exported, T>(question: impl FnOnce(&P, &Host) -> T) -> T {
    P::slot().with(|slot| match slot.get() {
        Some(policy) => question(policy, &Host::live()),
        None => panic!("asked before it was configured"),
    })
}

impl<P: Exported> lifecycle::Guest for Glue<P> {
    fn describe() -> lifecycle::Description {
        let description = P::describe();
        let rule = |rule: &crate::Rule| lifecycle::Rule {
            name: rule.name.to_owned(),
            summary: rule.summary.to_owned(),
        };
        lifecycle::Description {
            name: description.name.to_owned(),
            version: description.version.to_owned(),
            rules: description.rules.iter().map(rule).collect(),
        }
    }

    fn configure(settings: String) -> Result<(), Vec<lifecycle::Problem>> {
        let problem = |problem: crate::Problem| lifecycle::Problem {
            key: problem.key,
            text: problem.text,
        };
        let policy = <P as Policy>::configure(Settings::new(&settings))
            .map_err(|problems| problems.into_iter().map(problem).collect::<Vec<_>>())?;
        // An instance is configured only once: a second policy is dropped.
        P::slot().with(|slot| drop(slot.set(policy)));
        Ok(())
    }
}

impl<P: Exported + Exemption> exemption::Guest for Glue<P> {
    fn admit(client: types::Client<'_>) -> (exemption::Admission, types::Because) {
        let decision = ask(|policy: &P, host| policy.admit(&client.into(), host));
        (decision.answer.into(), decision.because.into())
    }
}

impl<P: Exported + Homing> homing::Guest for Glue<P> {
    fn check_sender(client: types::Client<'_>, sender: types::ReversePath) -> types::Decision {
        ask(|policy: &P, host| policy.sender(&client.into(), &sender.into(), host)).into()
    }

    fn check_recipient(client: types::Client<'_>, sender: types::ReversePath, recipient: String) -> types::Decision {
        ask(|policy: &P, host| policy.recipient(&client.into(), &sender.into(), &recipient, host)).into()
    }

    fn check_message(
        client: types::Client<'_>,
        envelope: types::Envelope<'_>,
        message: &handle::Message,
    ) -> (homing::Disposition, types::Because) {
        let message = Message::from(message);
        let decision = ask(|policy: &P, host| policy.message(&client.into(), &envelope.into(), &message, host));
        (decision.answer.into(), decision.because.into())
    }
}

impl<P: Exported + Ndr> ndr::Guest for Glue<P> {
    fn plan(failure: types::Failure<'_>) -> (Vec<ndr::Notice>, types::Because) {
        let decision = ask(|policy: &P, host| policy.plan(&failure.into(), host));
        (
            decision.answer.0.into_iter().map(Into::into).collect(),
            decision.because.into(),
        )
    }
}
