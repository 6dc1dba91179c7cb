//! Limit of recipients that an account may write to in a period. The host keeps the counter, which outlives the
//! connection and a change of this code.

use std::collections::BTreeMap;

use posthouse_policy::{
    Client, Decision, Description, Homing, Host, NoAnswer, Policy, Problem, Reply, ReversePath, Rule, Settings, Verdict,
};

const QUOTA: Rule = Rule::new("sender-quota", "how many recipients an account may write to in a time");

/// Settings of the policy.
#[derive(serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct SenderQuota {
    /// Maximum number of recipients in the period.
    recipients: u64,
    /// Length of the period in seconds, from the first recipient on.
    #[serde(default = "default_seconds")]
    seconds: u32,
    /// Different maximum numbers by account.
    #[serde(default)]
    accounts: BTreeMap<String, u64>,
}

fn default_seconds() -> u32 {
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
            // Recipients that cannot be counted are accepted, since a full disk must not stop all mail. The log has a
            // warning for the operator.
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
