//! Testing policies natively: a host in memory, and files of cases.
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

/// A message for tests; line ends become CRLF. [`crate::Message`] reads it by reference.
pub fn message(text: &str) -> posthouse_cases::Message {
    posthouse_cases::Message::new(text.as_bytes())
}

/// Runs a file of cases, as `posthouse policy run --case` does with the component. The path is relative
/// to the package, which is where cargo runs tests.
///
/// # Panics
/// The file cannot be used, or something in it is not as expected: all of it is in the message.
#[track_caller]
pub fn cases<P: Exported>(path: impl AsRef<std::path::Path>) {
    let path = path.as_ref();
    let file = posthouse_cases::CaseFile::read(path).unwrap_or_else(|error| panic!("{error}"));
    let mut wrong = Vec::new();
    for case in &file.cases {
        let outcome = run::<P>(&file, case);
        let place = format!("{}:{}: {}", file.name, case.line, case.name);
        wrong.extend(
            case.compare(&outcome)
                .into_iter()
                .map(|mismatch| format!("{place}: {mismatch}")),
        );
        wrong.extend(
            run::undeclared::<P>(&outcome)
                .into_iter()
                .map(|rule| format!("{place}: the rule {rule:?} is cited and not in describe()")),
        );
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// The schema of the settings, which [`crate::export!`] puts into the component, is what the type says. Schemars
/// says it; as a `[dev-dependencies]` it is no part of the component:
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
/// The file, relative to the package, says something else. It is written again: build the component again.
#[track_caller]
pub fn settings_schema(path: impl AsRef<std::path::Path>, schema: impl serde::Serialize) {
    let path = path.as_ref();
    let shown = path.display();
    let mut schema = serde_json::to_value(schema).unwrap_or_else(|error| panic!("{shown}: {error}"));
    if let Some(members) = schema.as_object_mut() {
        // The name of the type is no affair of the operator's.
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

/// A host for tests, in the words of `directory.toml`.
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

/// A host in the making; see [`host`].
#[derive(Debug, Clone)]
pub struct Builder(Fixture);

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

impl Builder {
    /// Local domains; without any, those of the addresses that are added.
    #[must_use]
    pub fn domains(mut self, domains: &[&str]) -> Self {
        self.0.directory.domains = Some(owned(domains));
        self
    }

    /// An account at home here.
    #[must_use]
    pub fn account(mut self, name: &str, addresses: &[&str]) -> Self {
        self.0.directory.accounts.push(Account {
            name: name.to_owned(),
            addresses: owned(addresses),
            ..Account::default()
        });
        self
    }

    /// An account whose mailbox is elsewhere.
    #[must_use]
    pub fn account_at(self, home: &str, name: &str, addresses: &[&str]) -> Self {
        let mut builder = self.account(name, addresses);
        if let Some(account) = builder.0.directory.accounts.last_mut() {
            account.home = Some(home.to_owned());
        }
        builder
    }

    /// Addresses and `@domain`s that an account added before may send as.
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

    /// An alias.
    #[must_use]
    pub fn alias(mut self, address: &str, to: &[&str]) -> Self {
        let (address, to) = (address.to_owned(), owned(to));
        self.0.directory.aliases.push(Alias { address, to });
        self
    }

    /// A group.
    #[must_use]
    pub fn group(mut self, address: &str, members: &[&str]) -> Self {
        let (address, members) = (address.to_owned(), owned(members));
        self.0.directory.groups.push(Group { address, members });
        self
    }

    /// What there is at a name, or at an address for PTR.
    #[must_use]
    pub fn records(mut self, name: &str, records: Records) -> Self {
        self.0.dns.0.insert(name.to_owned(), records);
        self
    }

    /// What a counter is.
    #[must_use]
    pub fn counter(mut self, key: &str, value: u64) -> Self {
        let mut counters = self.0.counters.all().clone();
        counters.insert(key.to_owned(), value);
        self.0.counters = counters.into();
        self
    }

    /// Something verification finds, as in `dkim pass example.org`.
    ///
    /// # Panics
    /// It is not written so.
    #[must_use]
    #[track_caller]
    pub fn finding(mut self, finding: &str) -> Self {
        let finding: Finding = finding.parse().unwrap_or_else(|error| panic!("{error}"));
        self.0.findings.push(finding);
        self
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn now(mut self, now: u64) -> Self {
        self.0.now = now;
        self
    }

    /// Something that cannot be asked.
    #[must_use]
    pub fn without(mut self, service: Service) -> Self {
        self.0.unavailable.push(service);
        self
    }

    /// The host.
    pub fn build(self) -> Host {
        self.0.into()
    }
}
