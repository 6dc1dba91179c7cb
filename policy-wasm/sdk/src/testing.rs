//! Native tests of policies: a host in memory, and files of cases.
//!
//! ```no_run
//! # use posthouse_policy::*;
//! # struct MyPolicy;
//! # impl Policy for MyPolicy {
//! #     fn describe() -> Description { posthouse_policy::description!() }
//! #     fn configure(_: Settings<'_>) -> Result<Self, Vec<Problem>> { Ok(Self) }
//! # }
//! # impl Homing for MyPolicy {}
//! # posthouse_policy::export!(MyPolicy: Homing);
//! #[test]
//! fn cases() {
//!     posthouse_policy::testing::cases::<MyPolicy>("cases.toml");
//! }
//! # fn main() {}
//! ```

mod answer;
mod run;

use posthouse_cases::{Account, Alias, Finding, Fixture, Group};

use crate::export::Exported;
use crate::host::Host;

pub use posthouse_cases::{Dns, Log, Records, Service};
pub use run::run;

/// Makes a message for tests; line ends become CRLF. [`crate::Message`] reads the message by reference.
pub fn message(text: &str) -> posthouse_cases::Message {
    posthouse_cases::Message::new(text.as_bytes())
}

/// Runs a file of cases, as `posthouse policy run --case` does with the component. The path is relative to the package,
/// the folder in which cargo runs tests.
///
/// # Panics
/// The file has an error, or an expectation is not met, or a decision cites a rule that the policy does not describe.
/// The message has all mismatches.
#[track_caller]
pub fn cases<P: Exported>(path: impl AsRef<std::path::Path>) {
    let path = path.as_ref();
    let file = posthouse_cases::CaseFile::read(path).unwrap_or_else(|error| panic!("{error}"));
    let mut mismatches = Vec::new();
    for case in &file.cases {
        let outcome = run::<P>(&file, case);
        let place = format!("{}:{}: {}", file.name, case.line, case.name);
        mismatches.extend(
            case.compare(&outcome)
                .into_iter()
                .map(|mismatch| format!("{place}: {mismatch}")),
        );
        mismatches.extend(
            run::undeclared_rules::<P>(&outcome)
                .into_iter()
                .map(|rule| format!("{place}: the rule {rule:?} is cited and not in describe()")),
        );
    }
    assert!(mismatches.is_empty(), "\n{}\n", mismatches.join("\n"));
}

/// Compares the schema of the settings, which [`crate::export!`] puts into the component, with the schema of the type.
/// The crate schemars makes the schema; as a development dependency, schemars is no part of the component:
///
/// ```ignore
/// #[derive(serde::Deserialize)]
/// #[cfg_attr(test, derive(schemars::JsonSchema))]
/// #[serde(deny_unknown_fields)]
/// struct MyPolicy { /* ... */ }
///
/// #[test]
/// fn settings() {
///     posthouse_policy::testing::settings_schema("settings.schema.json", schemars::schema_for!(MyPolicy));
/// }
/// ```
///
/// # Panics
/// The file, at a path relative to the package, differs. The function then writes the new schema: build the component
/// again.
#[track_caller]
pub fn settings_schema(path: impl AsRef<std::path::Path>, schema: impl serde::Serialize) {
    let path = path.as_ref();
    let shown = path.display();
    let mut schema = serde_json::to_value(schema).unwrap_or_else(|error| panic!("{shown}: {error}"));
    if let Some(members) = schema.as_object_mut() {
        // The name of the type does not matter to the operator.
        members.remove("title");
    }
    let known = std::fs::read_to_string(path).ok();
    let known: Option<serde_json::Value> = known.and_then(|text| serde_json::from_str(&text).ok());
    if known.as_ref() == Some(&schema) {
        return;
    }
    match std::fs::write(path, format!("{schema:#}\n")) {
        Ok(()) => panic!("{shown} did not say what the settings are, and does now: build the policy again"),
        Err(error) => panic!("{shown} does not say what the settings are, and cannot be written: {error}"),
    }
}

/// Starts the builder of a host for tests, with the terms of `directory.toml`.
///
/// ```
/// use posthouse_policy::testing::host;
/// let host = host()
///     .account("anna", &["anna@example.org"])
///     .group("staff@example.org", &["anna@example.org"])
///     .counter("anna", 7)
///     .now(1_800_000_000)
///     .build();
/// assert_eq!(host.is_member("staff@example.org", "anna@example.org"), Ok(true));
/// assert_eq!(host.count("anna", 1, 3600), Ok(8));
/// ```
pub fn host() -> Builder {
    Builder(Fixture {
        now: posthouse_cases::CaseFile::NOW,
        ..Fixture::default()
    })
}

/// Builder of a host for tests; see [`host`].
#[derive(Debug, Clone)]
pub struct Builder(Fixture);

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

impl Builder {
    /// Sets the local domains. The default is the domains of all added addresses.
    #[must_use]
    pub fn domains(mut self, domains: &[&str]) -> Self {
        self.0.directory.domains = Some(owned(domains));
        self
    }

    /// Adds an account with a mailbox on this host.
    #[must_use]
    pub fn account(mut self, name: &str, addresses: &[&str]) -> Self {
        self.0.directory.accounts.push(Account {
            name: name.to_owned(),
            addresses: owned(addresses),
            ..Account::default()
        });
        self
    }

    /// Adds an account with a mailbox on another host.
    #[must_use]
    pub fn account_at(self, home: &str, name: &str, addresses: &[&str]) -> Self {
        let mut builder = self.account(name, addresses);
        if let Some(account) = builder.0.directory.accounts.last_mut() {
            account.home = Some(home.to_owned());
        }
        builder
    }

    /// Permits an account, which was added before, to send as further addresses and `@domain`s.
    #[must_use]
    pub fn send_as(mut self, name: &str, addresses: &[&str]) -> Self {
        for account in self
            .0
            .directory
            .accounts
            .iter_mut()
            .filter(|account| account.name == name)
        {
            account.send_as.extend(owned(addresses));
        }
        self
    }

    /// Adds an alias.
    #[must_use]
    pub fn alias(mut self, address: &str, to: &[&str]) -> Self {
        let (address, to) = (address.to_owned(), owned(to));
        self.0.directory.aliases.push(Alias { address, to });
        self
    }

    /// Adds a group.
    #[must_use]
    pub fn group(mut self, address: &str, members: &[&str]) -> Self {
        let (address, members) = (address.to_owned(), owned(members));
        self.0.directory.groups.push(Group { address, members });
        self
    }

    /// Sets the DNS records of a name, or of an address for PTR.
    #[must_use]
    pub fn records(mut self, name: &str, records: Records) -> Self {
        self.0.dns.0.insert(name.to_owned(), records);
        self
    }

    /// Sets the value of a counter.
    #[must_use]
    pub fn counter(mut self, key: &str, value: u64) -> Self {
        let mut counters = self.0.counters.all().clone();
        counters.insert(key.to_owned(), value);
        self.0.counters = counters.into();
        self
    }

    /// Adds a result of verification, written as in `dkim pass example.org`.
    ///
    /// # Panics
    /// The text does not have this form.
    #[must_use]
    #[track_caller]
    pub fn finding(mut self, finding: &str) -> Self {
        let finding: Finding = finding.parse().unwrap_or_else(|error| panic!("{error}"));
        self.0.findings.push(finding);
        self
    }

    /// Sets the time, in seconds since 1970.
    #[must_use]
    pub fn now(mut self, now: u64) -> Self {
        self.0.now = now;
        self
    }

    /// Makes a service unavailable.
    #[must_use]
    pub fn without(mut self, service: Service) -> Self {
        self.0.unavailable.push(service);
        self
    }

    /// Returns the host.
    pub fn build(self) -> Host {
        self.0.into()
    }
}
