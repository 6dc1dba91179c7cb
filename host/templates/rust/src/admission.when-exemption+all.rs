//! Which clients may send without authenticating.

use posthouse_policy::{Admission, Client, Decision, Exemption, Host, Rule, Terms};

use crate::ThisPolicy;

pub const TRUSTED: Rule = Rule::new("trusted", "addresses that need not authenticate and may relay");

impl Exemption for ThisPolicy {
    fn admit(&self, client: &Client, _: &Host) -> Decision<Admission> {
        let Some(address) = client.ip().filter(|address| self.trusted.contains(address)) else {
            return Decision::pass();
        };
        let terms = Terms {
            exemptions: ["authentication", "relay"].map(str::to_owned).to_vec(),
            ..Terms::default()
        };
        Admission::Admit(terms).because(TRUSTED.with(address.to_string()))
    }
}
