//! Settings of the default policy, with defaults. `docs/reference/default-policy.md` explains each key.

mod section;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::network::{Network, NetworkTable};
use crate::pattern::{AddressPattern, SenderPattern};
use posthouse_policy::Content;
use posthouse_policy::Problem;
use section::Section;

/// Settings of the policy as a whole.
#[derive(Debug, Default, PartialEq)]
pub struct Settings {
    pub accept: Accept,
    pub homing: Homing,
    pub relay: Relay,
    pub filter: Filter,
    pub ndr: Ndr,
}

/// Terms of connections: the default, by listener, and by network.
#[derive(Debug, Default, PartialEq)]
pub struct Accept {
    pub from: AcceptFrom,
    pub listeners: BTreeMap<String, ListenerEntry>,
    pub hosts: NetworkTable<HostEntry>,
}

/// Requirements that a connection must meet before MAIL, in addition to those of the listener's configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AcceptFrom {
    #[default]
    Anyone,
    Authenticated,
    Encrypted,
    AuthenticatedAndEncrypted,
}

/// Terms of one listener.
#[derive(Debug, Default, PartialEq)]
pub struct ListenerEntry {
    /// Replacement for `accept.from`.
    pub from: Option<AcceptFrom>,
    pub exempt: Vec<Exemption>,
}

/// Terms of the hosts of one network.
#[derive(Debug, PartialEq)]
pub enum HostEntry {
    Reject,
    Accept {
        require: Vec<Requirement>,
        exempt: Vec<Exemption>,
    },
}

/// An exemption that admission can grant; the name goes to `terms.exemptions` of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exemption {
    Authentication,
    Encryption,
    Homing,
    Originator,
    Relay,
}

/// A requirement that a host entry can add to the listener's requirements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    Authentication,
    Encryption,
}

/// Restrictions on the sender addresses of clients.
#[derive(Debug, PartialEq)]
pub struct Homing {
    pub required: bool,
    pub match_account: bool,
    pub own_domains: OwnDomains,
}

/// Addresses of local domains that are only for clients that may use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnDomains {
    /// Unrestricted use.
    Anyone,
    /// The reverse-path.
    Sender,
    /// The reverse-path and the addresses of `From:`.
    SenderAndAuthor,
}

/// Permissions to relay to other hosts.
#[derive(Debug, PartialEq)]
pub struct Relay {
    pub authenticated: bool,
    pub clients: Vec<Network>,
    pub listeners: Vec<String>,
    pub to: Vec<AddressPattern>,
    pub never: NeverRelay,
}

/// Denials of relaying, which override every permission.
#[derive(Debug, Default, PartialEq)]
pub struct NeverRelay {
    pub clients: Vec<Network>,
    pub to: Vec<AddressPattern>,
}

/// Filtered senders, whose mail is accepted and not delivered.
#[derive(Debug, PartialEq)]
pub struct Filter {
    pub senders: Vec<SenderPattern>,
    pub action: FilterAction,
    pub folder: String,
}

/// Disposition of filtered mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilterAction {
    Discard,
    Quarantine,
}

/// Settings of non-delivery notices.
#[derive(Debug, PartialEq)]
pub struct Ndr {
    pub administrator_copies: Copies,
    pub content: Content,
    /// True if the sender of a message that its header marks as automatic gets no notice.
    pub quiet_automatic: bool,
}

/// Failures of which the administrator gets a copy.
#[derive(Debug, PartialEq)]
pub enum Copies {
    All,
    Of(Vec<String>),
}

/// Values of `failure.class` that the contract names.
const CLASSES: [&str; 8] = [
    "address-not-found",
    "ambiguous-address",
    "conversion-failed",
    "expired",
    "host-not-found",
    "loop",
    "not-homed",
    "protocol-error",
];

impl Exemption {
    /// Returns the name for `client.exemptions`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Encryption => "encryption",
            Self::Homing => "homing",
            Self::Originator => "originator",
            Self::Relay => "relay",
        }
    }
}

impl AcceptFrom {
    /// Returns the name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Authenticated => "authenticated",
            Self::Encrypted => "encrypted",
            Self::AuthenticatedAndEncrypted => "authenticated-and-encrypted",
        }
    }

    /// True if this value includes the requirement.
    pub fn requires(self, requirement: Requirement) -> bool {
        match requirement {
            Requirement::Authentication => matches!(self, Self::Authenticated | Self::AuthenticatedAndEncrypted),
            Requirement::Encryption => matches!(self, Self::Encrypted | Self::AuthenticatedAndEncrypted),
        }
    }
}

impl Default for Homing {
    fn default() -> Self {
        Self {
            required: false,
            match_account: true,
            own_domains: OwnDomains::Anyone,
        }
    }
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            authenticated: true,
            clients: Vec::new(),
            listeners: Vec::new(),
            to: Vec::new(),
            never: NeverRelay::default(),
        }
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            senders: Vec::new(),
            action: FilterAction::Quarantine,
            folder: "turf".to_owned(),
        }
    }
}

impl Default for Ndr {
    fn default() -> Self {
        Self {
            administrator_copies: Copies::Of(vec!["ambiguous-address".to_owned()]),
            content: Content::Headers,
            quiet_automatic: false,
        }
    }
}

impl Settings {
    /// Reads a JSON object. Absent keys have defaults.
    ///
    /// # Errors
    /// All problems, not only the first.
    pub fn parse(json: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let value: Value = serde_json::from_str(json).map_err(|error| {
            vec![Problem {
                key: String::new(),
                text: format!("not JSON: {error}"),
            }]
        })?;
        let settings = Section::read("", value, &mut problems, |root| Self {
            accept: root.section("accept", accept).unwrap_or_default(),
            homing: root.section("homing", homing).unwrap_or_default(),
            relay: root.section("relay", relay).unwrap_or_default(),
            filter: root.section("filter", filter).unwrap_or_default(),
            ndr: root.section("ndr", ndr).unwrap_or_default(),
        });
        match settings {
            Some(settings) if problems.is_empty() => Ok(settings),
            _ => Err(problems),
        }
    }
}

fn accept(section: &mut Section<'_>) -> Accept {
    let from = section.value("from").unwrap_or_default();
    let listeners = section.table("listeners", |listener| ListenerEntry {
        from: listener.value("from"),
        exempt: listener.list("exempt").unwrap_or_default(),
    });
    let mut hosts = NetworkTable::default();
    section.sections("hosts", |host| {
        let entry = host_entry(host);
        if let Some(network) = host.required("network")
            && !hosts.insert(network, entry)
        {
            host.problem("network", format!("{network} has an entry already"));
        }
    });
    Accept { from, listeners, hosts }
}

fn host_entry(section: &mut Section<'_>) -> HostEntry {
    #[derive(Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    enum Action {
        Accept,
        Reject,
    }

    let action = section.value("action").unwrap_or(Action::Accept);
    let require: Option<Vec<Requirement>> = section.list("require");
    let exempt: Option<Vec<Exemption>> = section.list("exempt");
    if action == Action::Reject {
        for (key, given) in [("require", require.is_some()), ("exempt", exempt.is_some())] {
            if given {
                section.problem(key, "a rejected host has no terms");
            }
        }
        return HostEntry::Reject;
    }
    let (require, exempt) = (require.unwrap_or_default(), exempt.unwrap_or_default());
    for (requirement, exemption) in [
        (Requirement::Authentication, Exemption::Authentication),
        (Requirement::Encryption, Exemption::Encryption),
    ] {
        if require.contains(&requirement) && exempt.contains(&exemption) {
            section.problem("require", format!("{} is in exempt, too", exemption.name()));
        }
    }
    HostEntry::Accept { require, exempt }
}

fn homing(section: &mut Section<'_>) -> Homing {
    let default = Homing::default();
    Homing {
        required: section.value("required").unwrap_or(default.required),
        match_account: section.value("match-account").unwrap_or(default.match_account),
        own_domains: section.value("own-domains").unwrap_or(default.own_domains),
    }
}

fn relay(section: &mut Section<'_>) -> Relay {
    Relay {
        authenticated: section.value("authenticated").unwrap_or(Relay::default().authenticated),
        clients: section.list("clients").unwrap_or_default(),
        listeners: section.list("listeners").unwrap_or_default(),
        to: section.list("to").unwrap_or_default(),
        never: section
            .section("never", |never| NeverRelay {
                clients: never.list("clients").unwrap_or_default(),
                to: never.list("to").unwrap_or_default(),
            })
            .unwrap_or_default(),
    }
}

fn filter(section: &mut Section<'_>) -> Filter {
    let default = Filter::default();
    let folder = section.value("folder").unwrap_or(default.folder);
    // The form of a folder name in the contract.
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if folder.is_empty() || folder.len() > 64 || !folder.chars().all(plain) {
        section.problem("folder", "expected 1 to 64 lower-case letters, digits and hyphens");
    }
    Filter {
        senders: section.list("senders").unwrap_or_default(),
        action: section.value("action").unwrap_or(default.action),
        folder,
    }
}

fn ndr(section: &mut Section<'_>) -> Ndr {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Word {
        Nothing,
        Headers,
        Full,
    }

    let default = Ndr::default();
    let content = match section.value("content") {
        Some(Word::Nothing) => Content::Nothing,
        Some(Word::Headers) => Content::Headers,
        Some(Word::Full) => Content::Full,
        None => default.content,
    };
    Ndr {
        administrator_copies: copies(section).unwrap_or(default.administrator_copies),
        content,
        quiet_automatic: section.value("quiet-automatic").unwrap_or(default.quiet_automatic),
    }
}

fn copies(section: &mut Section<'_>) -> Option<Copies> {
    const KEY: &str = "administrator-copies";
    if section.word_instead_of_list(KEY, "all") {
        return Some(Copies::All);
    }
    let classes: Vec<String> = section.list(KEY)?;
    for (index, class) in classes.iter().enumerate() {
        if !CLASSES.contains(&class.as_str()) {
            let text = format!("{class:?} is no failure class, expected one of {}", CLASSES.join(", "));
            section.problem(&format!("{KEY}[{index}]"), text);
        }
    }
    Some(Copies::Of(classes))
}

#[cfg(test)]
mod tests;
