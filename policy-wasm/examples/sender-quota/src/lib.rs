//! How many recipients an account may write to in a time. The host keeps the count: it outlives the
//! connection, and a change of this code.

use std::collections::BTreeMap;

use posthouse_policy::{
    Client, Decision, Description, Homing, Host, NoAnswer, Policy, Problem, Reply, ReversePath, Rule, Settings, Verdict,
};

const QUOTA: Rule = Rule::new("sender-quota", "how many recipients an account may write to in a time");

/// What the operator decides.
#[derive(serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct SenderQuota {
    /// Recipients in `seconds`.
    recipients: u64,
    /// The time, from the first recipient on.
    #[serde(default = "an_hour")]
    seconds: u32,
    /// Accounts with a number of their own.
    #[serde(default)]
    accounts: BTreeMap<String, u64>,
}

fn an_hour() -> u32 {
    3_600
}

impl Policy for SenderQuota {
    fn describe() -> Description {
        posthouse_policy::description!(QUOTA)
    }

    fn configure(settings: Settings<'_>) -> Result<Self, Vec<Problem>> {
        let quota: Self = settings.read()?;
        match quota.seconds {
            0 => Err(vec![Problem::new("seconds", "expected at least 1")]),
            _ => Ok(quota),
        }
    }
}

impl Homing for SenderQuota {
    fn recipient(&self, client: &Client, _: &ReversePath, _: &str, host: &Host) -> Decision<Verdict> {
        let Some(account) = client.account() else {
            return Decision::pass();
        };
        let allowed = self.accounts.get(account).copied().unwrap_or(self.recipients);
        match host.count(&format!("recipients of {account}"), 1, self.seconds) {
            Ok(count) if count <= allowed => Decision::pass(),
            Ok(_) => {
                let reply = Reply::new(450, (4, 7, 1), "Too many recipients in a short time, try again later");
                Verdict::Defer(reply).because(QUOTA.with(account))
            }
            // Who cannot be counted is let through: a full disk must not stop all mail. The operator hears of it.
            Err(error @ (NoAnswer::Full | NoAnswer::Unavailable(_) | NoAnswer::Other(_))) => {
                host.warning(format!("{account} is not counted: {error}"));
                Decision::pass()
            }
        }
    }
}

posthouse_policy::export!(SenderQuota: Homing; settings = "settings.schema.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        posthouse_policy::testing::cases::<SenderQuota>("cases.toml");
    }

    #[test]
    fn settings() {
        posthouse_policy::testing::settings_schema("settings.schema.json", schemars::schema_for!(SenderQuota));
    }
}
