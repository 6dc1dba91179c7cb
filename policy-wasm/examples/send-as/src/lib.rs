//! Check of the addresses that an account may send as: the account's addresses with and without a `+tag`, aliases, and
//! addresses of groups of which the account is a member.

use posthouse_policy::{
    Client, Decision, Description, Homing, Host, NoAnswer, Policy, Problem, Reply, ReversePath, Rule, Settings,
    Verdict, domain_of,
};

const SEND_AS: Rule = Rule::new(
    "send-as",
    "an account sends as addresses that are its own or its groups'",
);
const DIRECTORY: Rule = Rule::new("directory", "the directory cannot be asked now");

/// Settings of the policy.
#[derive(serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SendAs {
    /// Domain of the accounts' addresses: the account `anna` has the address `anna@domain`.
    domain: String,
    /// True if members of a group may send as the group.
    #[serde(default = "enabled")]
    groups: bool,
    /// True if `user+tag@domain` counts as `user@domain`.
    #[serde(default = "enabled")]
    plus: bool,
}

fn enabled() -> bool {
    true
}

impl SendAs {
    /// Returns the address without its tag; `None` if there is no tag or tags are not supported.
    fn untagged(&self, address: &str) -> Option<String> {
        let (local_part, _) = address.rsplit_once('@')?;
        let (user, _) = local_part.split_once('+')?;
        (self.plus && !user.is_empty()).then(|| format!("{user}@{}", domain_of(address)))
    }

    fn may_send_as(&self, account: &str, address: &str, host: &Host) -> Result<bool, NoAnswer> {
        let tagged = address
            .rsplit_once('@')
            .is_some_and(|(local_part, _)| local_part.contains('+'));
        if (self.plus || !tagged) && host.may_send_as(account, address)? {
            return Ok(true);
        }
        if tagged && !self.plus {
            return Ok(false);
        }
        let plain = self.untagged(address);
        let plain = plain.as_deref().unwrap_or(address);
        let own = format!("{account}@{}", self.domain);
        for entry in host.lookup(plain)? {
            // A group of the account lists the account's address.
            if (entry.kind == "group" && self.groups) && host.is_member(plain, &own)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Policy for SendAs {
    fn describe() -> Description {
        posthouse_policy::description!(SEND_AS, DIRECTORY)
    }

    fn configure(settings: Settings<'_>) -> Result<Self, Vec<Problem>> {
        settings.read()
    }
}

impl Homing for SendAs {
    fn sender(&self, client: &Client, sender: &ReversePath, host: &Host) -> Decision<Verdict> {
        let (Some(account), Some(address)) = (client.account(), sender.address()) else {
            return Decision::pass();
        };
        match self.may_send_as(account, address, host) {
            Ok(true) => Verdict::Accept.because(SEND_AS.with(address)),
            Ok(false) => {
                let reply = Reply::new(553, (5, 7, 1), format!("{account} may not send as {address}"));
                Verdict::Reject(reply).because(SEND_AS.with(address))
            }
            Err(_) => {
                let later = Reply::new(451, (4, 3, 0), "The directory cannot be asked now, try again later");
                Verdict::Defer(later).because(DIRECTORY.with(address))
            }
        }
    }
}

posthouse_policy::export!(SendAs: Homing; settings = "settings.schema.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        posthouse_policy::testing::cases::<SendAs>("cases.toml");
    }

    #[test]
    fn settings() {
        posthouse_policy::testing::settings_schema("settings.schema.json", schemars::schema_for!(SendAs));
    }
}
