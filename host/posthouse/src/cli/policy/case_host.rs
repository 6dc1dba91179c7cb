//! The host of a case: what a policy is told when it asks.

use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use posthouse_cases::{Fixture, NoAnswer as NoneInFile};

use host_directory::{Directory, Entry, Home, LookupError, Target};
use host_engine::host_call::{Answer, Call, Caller, DirectoryEntry, Finding, HostServices, NoAnswer};
use host_mail::Mailbox;

/// Answers from a case file, for policies and for the host itself.
#[derive(Default)]
pub struct CaseHost(Mutex<Fixture>);

impl CaseHost {
    pub fn new(fixture: Fixture) -> Self {
        Self(Mutex::new(fixture))
    }

    fn tell(&self, call: &Call) -> Result<Answer, NoneInFile> {
        let mut fixture = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match call {
            Call::Lookup { address } => {
                let entries = fixture.lookup(address)?;
                Answer::Entries(entries.into_iter().map(meaning).collect())
            }
            Call::MaySendAs { account, address } => Answer::Truth(fixture.may_send_as(account, address)?),
            Call::IsLocalDomain { domain } => Answer::Truth(fixture.is_local_domain(domain)?),
            Call::IsMember { group, address } => Answer::Truth(fixture.is_member(group, address)?),
            Call::Addresses { name } => Answer::Texts(fixture.records(name)?.addresses),
            Call::Exchanges { name } => {
                let exchanges = fixture.records(name)?.exchanges.into_iter();
                Answer::Exchanges(exchanges.map(|mx| (mx.preference, mx.name)).collect())
            }
            Call::Texts { name } => Answer::Texts(fixture.records(name)?.texts),
            Call::Names { address } => Answer::Texts(fixture.records(address)?.names),
            Call::CounterAdd { key, amount, .. } => Answer::Count(fixture.add(key, *amount)?),
            Call::CounterValue { key } => Answer::Count(fixture.value(key)?),
            Call::Findings => Answer::Findings(fixture.findings.iter().cloned().map(finding).collect()),
        })
    }
}

impl HostServices for CaseHost {
    fn answer<'a>(&'a self, _asker: Caller<'a>, call: &'a Call) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        let told = self.tell(call).map_err(|error| match error {
            NoneInFile::Unavailable(why) => NoAnswer::Unavailable(why),
            NoneInFile::Other(why) => NoAnswer::Other(why),
        });
        std::future::ready(told).boxed()
    }
}

fn meaning(entry: posthouse_cases::Entry) -> DirectoryEntry {
    DirectoryEntry {
        account: entry.account,
        address: entry.address,
        elsewhere: entry.elsewhere,
        kind: entry.kind.to_owned(),
    }
}

fn finding(finding: posthouse_cases::Finding) -> Finding {
    Finding {
        method: finding.method,
        outcome: finding.outcome,
        domain: finding.domain,
        detail: finding.detail,
    }
}

/// What the host itself asks: whether an address is of this place.
impl Directory for CaseHost {
    fn lookup<'a>(&'a self, address: &'a Mailbox) -> BoxFuture<'a, Result<Vec<Entry>, LookupError>> {
        let fixture = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = fixture.lookup(address.as_str()).map_err(unavailable);
        let entries = entries.map(|entries| entries.into_iter().filter_map(entry).collect());
        std::future::ready(entries).boxed()
    }

    fn may_send_as<'a>(&'a self, account: &'a str, address: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        let fixture = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let truth = fixture.may_send_as(account, address.as_str()).map_err(unavailable);
        std::future::ready(truth).boxed()
    }

    fn is_local_domain<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<bool, LookupError>> {
        let fixture = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let truth = fixture.is_local_domain(domain).map_err(unavailable);
        std::future::ready(truth).boxed()
    }

    fn is_member<'a>(&'a self, group: &'a Mailbox, address: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        let fixture = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let truth = fixture.is_member(group.as_str(), address.as_str()).map_err(unavailable);
        std::future::ready(truth).boxed()
    }

    /// Nobody logs in to a case: it says who has.
    fn authenticate<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<String>, LookupError>> {
        std::future::ready(Ok(None)).boxed()
    }
}

fn unavailable(error: NoneInFile) -> LookupError {
    LookupError::Unavailable(error.to_string())
}

/// None for what is no address: no lookup finds it.
fn entry(entry: posthouse_cases::Entry) -> Option<Entry> {
    let address = entry.address.parse().ok()?;
    let target = match entry.account {
        Some(account) => Target::Account {
            account,
            home: Home::Maildir(Default::default()),
        },
        None => Target::Alias(Vec::new()),
    };
    Some(Entry { address, target })
}
