//! What the host calls.

use crate::contract::exports::posthouse::policy::{exemption, homing, lifecycle, ndr};
use crate::contract::posthouse::policy::message::Message;
use crate::contract::posthouse::policy::types::{Because, Client, Decision, Envelope, Failure, ReversePath, Verdict};

pub struct Policy;

fn because(rule: &str) -> Because {
    Because {
        rule: rule.to_owned(),
        entry: None,
    }
}

impl lifecycle::Guest for Policy {
    fn describe() -> lifecycle::Description {
        lifecycle::Description {
            name: "default".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rules: vec![],
        }
    }

    fn configure(_settings: String) -> Result<(), Vec<lifecycle::Problem>> {
        Ok(())
    }
}

impl exemption::Guest for Policy {
    fn admit(_client: Client<'_>) -> (exemption::Admission, Because) {
        (exemption::Admission::Pass, because("none"))
    }
}

impl homing::Guest for Policy {
    fn check_sender(_client: Client<'_>, _sender: ReversePath) -> Decision {
        Decision {
            verdict: Verdict::Pass,
            because: because("none"),
        }
    }

    fn check_recipient(_client: Client<'_>, _sender: ReversePath, _recipient: String) -> Decision {
        Decision {
            verdict: Verdict::Pass,
            because: because("none"),
        }
    }

    fn check_message(
        _client: Client<'_>,
        _envelope: Envelope<'_>,
        _message: &Message,
    ) -> (homing::Disposition, Because) {
        (homing::Disposition::Pass, because("none"))
    }
}

impl ndr::Guest for Policy {
    fn plan(_failure: Failure<'_>) -> (Vec<ndr::Notice>, Because) {
        (vec![], because("none"))
    }
}

/// The component's exports. Only there: a native test binary has no use for their names.
#[cfg(target_arch = "wasm32")]
mod exports {
    #![allow(unsafe_code)]

    use super::Policy;

    crate::contract::export!(Policy with_types_in crate::contract);
}
