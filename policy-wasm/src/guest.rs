//! What the host calls.

use std::cell::RefCell;

use crate::contract::message::Message;
use crate::contract::types::{Because, Client, Decision, Envelope, Failure, ReversePath};
use crate::contract::{exemption, homing, lifecycle, ndr};
use crate::directory::Host;
use crate::reply::Objection;
use crate::rule::{self, Rule};
use crate::settings::Settings;
use crate::{admission, message, notices, originator, recipient};

thread_local! {
    /// What `configure` was given last; a component has one thread.
    static SETTINGS: RefCell<Settings> = RefCell::default();
}

/// The policy, as the contract sees it.
pub struct Policy;

impl lifecycle::Guest for Policy {
    fn describe() -> lifecycle::Description {
        lifecycle::Description {
            name: "default".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rules: rule::all(),
        }
    }

    fn configure(settings: String) -> Result<(), Vec<lifecycle::Problem>> {
        SETTINGS.set(Settings::parse(&settings)?);
        Ok(())
    }
}

impl exemption::Guest for Policy {
    fn admit(client: Client<'_>) -> (exemption::Admission, Because) {
        SETTINGS.with_borrow(|settings| admission::admit(&settings.accept, &client))
    }
}

impl homing::Guest for Policy {
    fn check_sender(client: Client<'_>, sender: ReversePath) -> Decision {
        let opinion =
            SETTINGS.with_borrow(|settings| originator::check_sender(&settings.homing, &client, &sender, &Host));
        decision(opinion.map(|because| because.unwrap_or_else(|| Rule::NoObjection.alone())))
    }

    fn check_recipient(client: Client<'_>, _sender: ReversePath, recipient: String) -> Decision {
        decision(SETTINGS.with_borrow(|settings| recipient::check(&settings.relay, &client, &recipient, &Host)))
    }

    fn check_message(client: Client<'_>, envelope: Envelope<'_>, message: &Message) -> (homing::Disposition, Because) {
        SETTINGS.with_borrow(|settings| message::check(settings, &client, &envelope, &message, &Host))
    }
}

impl ndr::Guest for Policy {
    fn plan(failure: Failure<'_>) -> (Vec<ndr::Notice>, Because) {
        SETTINGS.with_borrow(|settings| notices::plan(&settings.ndr, &failure, &Host))
    }
}

fn decision(opinion: Result<Because, Objection>) -> Decision {
    let (verdict, because) = match opinion {
        Ok(because) => (crate::contract::types::Verdict::Accept, because),
        Err(objection) => objection.verdict(),
    };
    Decision { verdict, because }
}

/// The component's exports. Only there: a native test has no use for their names.
#[cfg(target_arch = "wasm32")]
mod exports {
    #![allow(unsafe_code)]

    use super::Policy;

    crate::contract::bindings::export!(Policy with_types_in crate::contract::bindings);
}
