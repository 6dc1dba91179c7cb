//! The smallest useful policy: recipients that the settings list get no mail.
//!
//! Settings: `{"refuse": ["address", ...]}`.

use posthouse_policy::{
    Client, Decision, Description, Homing, Host, Policy, Problem, Reply, ReversePath, Rule, Settings, Verdict,
};

const REFUSE: Rule = Rule::new("refuse", "recipients that get no mail");

/// Settings of the policy.
#[derive(serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct FirstPolicy {
    /// Addresses, in any case.
    #[serde(default)]
    refuse: Vec<String>,
}

impl Policy for FirstPolicy {
    fn describe() -> Description {
        posthouse_policy::description!(REFUSE)
    }

    fn configure(settings: Settings<'_>) -> Result<Self, Vec<Problem>> {
        settings.read()
    }
}

impl Homing for FirstPolicy {
    fn recipient(&self, _: &Client, _: &ReversePath, recipient: &str, _: &Host) -> Decision<Verdict> {
        if !self
            .refuse
            .iter()
            .any(|address| address.eq_ignore_ascii_case(recipient))
        {
            return Decision::pass();
        }
        let reply = Reply::new(550, (5, 7, 1), "This recipient gets no mail");
        Verdict::Reject(reply).because(REFUSE.with(recipient))
    }
}

posthouse_policy::export!(FirstPolicy: Homing; settings = "settings.schema.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        posthouse_policy::testing::cases::<FirstPolicy>("cases.toml");
    }

    #[test]
    fn settings() {
        posthouse_policy::testing::settings_schema("settings.schema.json", schemars::schema_for!(FirstPolicy));
    }
}
