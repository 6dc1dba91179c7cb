//! Which addresses an account may send as: its own (with and without a `+tag`), its aliases, and those
//! of groups it is a member of.

use posthouse_policy::{
    Client, Decision, Description, Homing, Host, NoAnswer, Policy, Problem, Reply, ReversePath, Rule, Settings,
    Verdict, domain_of,
};

const SEND_AS: Rule = Rule::new(
    "send-as",
    "an account sends as addresses that are its own or its groups'",
);
const DIRECTORY: Rule = Rule::new("directory", "the directory cannot be asked now");

/// What the operator decides.
#[derive(serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SendAs {
    /// The domain of accounts' own addresses: an account `anna` is `anna@` it.
    domain: String,
    /// Members of a group may send as the group.
    #[serde(default = "yes")]
    groups: bool,
    /// `user+tag@domain` is `user@domain`.
    #[serde(default = "yes")]
    plus: bool,
}

fn yes() -> bool {
    true
}

impl SendAs {
    /// The address without its tag; none if it has none or tags mean nothing.
    fn untagged(&self, address: &str) -> Option<String> {
        let (local_part, _) = address.rsplit_once('@')?;
        let (user, _) = local_part.split_once('+')?;
        (self.plus && !user.is_empty()).then(|| format!("{user}@{}", domain_of(address)))
    }

    fn may(&self, account: &str, address: &str, host: &Host) -> Result<bool, NoAnswer> {
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
            // An alias that leads to the account, and a group it is in, list its address.
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
        match self.may(account, address, host) {
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
