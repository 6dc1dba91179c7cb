//! Admission of printers and old devices that cannot authenticate: by network, to certain recipients, and with a limit
//! of recipients in an hour.

use ipnet::IpNet;
use posthouse_policy::{
    Admission, Client, Decision, Description, Exemption, Homing, Host, Policy, Problem, Reply, ReversePath, Rule,
    Settings, Terms, Verdict, domain_of,
};

const PRINTERS: Rule = Rule::new("printers", "devices that need not authenticate");
const RECIPIENTS: Rule = Rule::new("recipients", "whom devices may write to");
const RATE: Rule = Rule::new("rate", "how much a device may send");

/// Exemption that marks a device for the questions after admission.
const DEVICE: &str = "printers";
/// Lifetime of the counter of a device, in seconds.
const HOUR: u32 = 3_600;

/// Settings of the policy.
#[derive(serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Printers {
    /// Networks of the devices.
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    networks: Vec<IpNet>,
    /// Addresses and `@domain`s that devices may write to.
    recipients: Vec<String>,
    /// Maximum number of recipients in an hour, for each device.
    #[serde(default = "default_per_hour")]
    per_hour: u64,
}

fn default_per_hour() -> u64 {
    20
}

impl Printers {
    fn network(&self, client: &Client) -> Option<&IpNet> {
        let address = client.ip()?;
        self.networks.iter().find(|network| network.contains(&address))
    }

    fn is_allowed_recipient(&self, recipient: &str) -> bool {
        self.recipients.iter().any(|allowed| match allowed.strip_prefix('@') {
            Some(domain) => domain.eq_ignore_ascii_case(domain_of(recipient)),
            None => allowed.eq_ignore_ascii_case(recipient),
        })
    }
}

impl Policy for Printers {
    fn describe() -> Description {
        posthouse_policy::description!(PRINTERS, RECIPIENTS, RATE)
    }

    fn configure(settings: Settings<'_>) -> Result<Self, Vec<Problem>> {
        settings.read()
    }
}

impl Exemption for Printers {
    fn admit(&self, client: &Client, _: &Host) -> Decision<Admission> {
        let Some(network) = self.network(client) else {
            return Decision::pass();
        };
        let terms = Terms {
            authentication: Some(false),
            encryption: Some(false),
            exemptions: ["authentication", "encryption", "homing", DEVICE]
                .map(str::to_owned)
                .to_vec(),
        };
        Admission::Admit(terms).because(PRINTERS.with(network.to_string()))
    }
}

impl Homing for Printers {
    fn recipient(&self, client: &Client, _: &ReversePath, recipient: &str, host: &Host) -> Decision<Verdict> {
        if !client.is_exempt(DEVICE) || client.identity.is_some() {
            return Decision::pass();
        }
        if !self.is_allowed_recipient(recipient) {
            let reply = Reply::new(550, (5, 7, 1), "Devices may not write to this address");
            return Verdict::Reject(reply).because(RECIPIENTS.with(recipient));
        }
        match host.count(&format!("sent {}", client.address), 1, HOUR) {
            Ok(count) if count <= self.per_hour => Verdict::Accept.because(RECIPIENTS.with(recipient)),
            Ok(_) => {
                let reply = Reply::new(450, (4, 7, 1), "Too much from this device, try again later");
                Verdict::Defer(reply).because(RATE.with(&client.address))
            }
            Err(error) => {
                host.warning(format!("{} is not counted: {error}", client.address));
                let reply = Reply::new(451, (4, 3, 0), "This device cannot be counted now, try again later");
                Verdict::Defer(reply).because(RATE.with(&client.address))
            }
        }
    }
}

posthouse_policy::export!(Printers: Exemption, Homing; settings = "settings.schema.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        posthouse_policy::testing::cases::<Printers>("cases.toml");
    }

    #[test]
    fn settings() {
        posthouse_policy::testing::settings_schema("settings.schema.json", schemars::schema_for!(Printers));
    }
}
