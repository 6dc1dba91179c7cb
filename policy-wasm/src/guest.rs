//! Implementation of the contract's exports by the rules.

use posthouse_policy::{
    Admission, Because, Client, Decision, Description, Disposition, Envelope, Exemption, Failure, Homing, Host,
    Message, Ndr, Plan, Policy, Problem, ReversePath, Settings as Json, Verdict,
};

use crate::objections::Objection;
use crate::rule_names::{self, Rule};
use crate::settings::Settings;
use crate::{admission, message_rules, notices, originator, own_domains, recipient};

/// The default policy, configured with an operator's settings.
pub struct DefaultPolicy(Settings);

impl Policy for DefaultPolicy {
    fn describe() -> Description {
        Description {
            name: "default",
            version: env!("CARGO_PKG_VERSION"),
            rules: rule_names::all(),
        }
    }

    fn configure(settings: Json<'_>) -> Result<Self, Vec<Problem>> {
        Settings::parse(settings.json()).map(Self)
    }
}

impl Exemption for DefaultPolicy {
    fn admit(&self, client: &Client, _: &Host) -> Decision<Admission> {
        let (admission, because) = admission::admit(&self.0.accept, client);
        admission.because(because)
    }
}

impl Homing for DefaultPolicy {
    fn sender(&self, client: &Client, sender: &ReversePath, host: &Host) -> Decision<Verdict> {
        let opinion = originator::check_sender(&self.0.homing, client, sender, host)
            .and_then(|because| Ok(because.or(own_domains::check_sender(&self.0, client, sender, host)?)));
        decision(opinion.map(|because| because.unwrap_or_else(|| Rule::NoObjection.alone())))
    }

    fn recipient(&self, client: &Client, _: &ReversePath, recipient: &str, host: &Host) -> Decision<Verdict> {
        decision(recipient::check(&self.0.relay, client, recipient, host))
    }

    fn message(
        &self,
        client: &Client,
        envelope: &Envelope,
        message: &Message<'_>,
        host: &Host,
    ) -> Decision<Disposition> {
        let (disposition, because) = message_rules::check(&self.0, client, envelope, message, host);
        disposition.because(because)
    }
}

impl Ndr for DefaultPolicy {
    fn plan(&self, failure: &Failure, host: &Host) -> Decision<Plan> {
        let (notices, because) = notices::plan(&self.0.ndr, failure, host);
        Plan(notices).because(because)
    }
}

fn decision(opinion: Result<Because, Objection>) -> Decision<Verdict> {
    let (verdict, because) = match opinion {
        Ok(because) => (Verdict::Accept, because),
        Err(objection) => objection.verdict(),
    };
    verdict.because(because)
}

posthouse_policy::export!(DefaultPolicy: Exemption, Homing, Ndr; settings = "settings.schema.json");
