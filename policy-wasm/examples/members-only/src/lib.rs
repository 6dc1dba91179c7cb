//! Recipients that accept mail only from members of a group, such as a mailing list of the staff.

use std::collections::BTreeMap;

use posthouse_policy::{
    Client, Decision, Description, Homing, Host, Policy, Problem, Reply, ReversePath, Rule, Settings, Verdict,
};

const MEMBERS: Rule = Rule::new("members-only", "recipients that only members of a group may write to");
const DIRECTORY: Rule = Rule::new("directory", "the directory cannot be asked now");

/// Settings of the policy.
#[derive(serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct MembersOnly {
    /// The group whose members may write to a recipient, by the recipient's address.
    recipients: BTreeMap<String, String>,
}

impl Policy for MembersOnly {
    fn describe() -> Description {
        posthouse_policy::description!(MEMBERS, DIRECTORY)
    }

    fn configure(settings: Settings<'_>) -> Result<Self, Vec<Problem>> {
        settings.read()
    }
}

impl Homing for MembersOnly {
    fn recipient(&self, client: &Client, sender: &ReversePath, recipient: &str, host: &Host) -> Decision<Verdict> {
        let mut lists = self.recipients.iter();
        let Some((_, group)) = lists.find(|(address, _)| address.eq_ignore_ascii_case(recipient)) else {
            return Decision::pass();
        };
        let refusal = Reply::new(550, (5, 7, 2), "Only members may write to this address");
        // An address proves nothing: a client without authentication can use any address.
        let (Some(account), Some(address)) = (client.account(), sender.address()) else {
            return Verdict::Reject(refusal).because(MEMBERS.with(recipient));
        };
        let is_member = host
            .may_send_as(account, address)
            .and_then(|own| Ok(own && host.is_member(group, address)?));
        match is_member {
            // The next module checks the recipient for members, too.
            Ok(true) => Decision::pass(),
            Ok(false) => Verdict::Reject(refusal).because(MEMBERS.with(recipient)),
            Err(_) => {
                let later = Reply::new(451, (4, 3, 0), "The directory cannot be asked now, try again later");
                Verdict::Defer(later).because(DIRECTORY.with(recipient))
            }
        }
    }
}

posthouse_policy::export!(MembersOnly: Homing; settings = "settings.schema.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        posthouse_policy::testing::cases::<MembersOnly>("cases.toml");
    }

    #[test]
    fn settings() {
        posthouse_policy::testing::settings_schema("settings.schema.json", schemars::schema_for!(MembersOnly));
    }
}
