//! The host functions of a case: answers a policy's calls from a case file.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use posthouse_cases::{Fixture, NoAnswer as CaseNoAnswer};

use host_directory::{Directory, Entry, Home, Login, LookupError, Target};
use host_engine::host_call::{Answer, Call, Caller, DirectoryEntry, Finding, HostServices, NoAnswer};
use host_mail::{Mailbox, canonical_domain};

/// Answers from the fixture of a case, for policies and for the host's own directory lookups.
#[derive(Default)]
pub struct CaseHost(Mutex<Fixture>);

impl CaseHost {
    /// Makes the domains of the directory canonical, as the host's own directory does.
    pub fn new(mut fixture: Fixture) -> Self {
        let directory = &mut fixture.directory;
        for domain in directory.domains.iter_mut().flatten() {
            *domain = canonical_name(domain);
        }
        let addresses = (directory.accounts.iter_mut())
            .flat_map(|account| account.addresses.iter_mut().chain(&mut account.send_as))
            .chain(
                (directory.aliases.iter_mut())
                    .flat_map(|alias| std::iter::once(&mut alias.address).chain(&mut alias.to)),
            )
            .chain(
                (directory.groups.iter_mut())
                    .flat_map(|group| std::iter::once(&mut group.address).chain(&mut group.members)),
            );
        for address in addresses {
            *address = canonical(address);
        }
        Self(Mutex::new(fixture))
    }

    fn answer_call(&self, call: &Call) -> Result<Answer, CaseNoAnswer> {
        let mut fixture = self.0.lock();
        Ok(match call {
            Call::Lookup { address } => {
                let entries = fixture.lookup(&canonical(address))?;
                Answer::Entries(entries.into_iter().map(directory_entry).collect())
            }
            Call::MaySendAs { account, address } => Answer::Truth(fixture.may_send_as(account, &canonical(address))?),
            Call::IsLocalDomain { domain } => Answer::Truth(fixture.is_local_domain(&canonical_name(domain))?),
            Call::IsMember { group, address } => {
                Answer::Truth(fixture.is_member(&canonical(group), &canonical(address))?)
            }
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
    fn answer<'a>(&'a self, _caller: Caller<'a>, call: &'a Call) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        let answer = self.answer_call(call).map_err(|error| match error {
            CaseNoAnswer::Unavailable(why) => NoAnswer::Unavailable(why),
            CaseNoAnswer::Other(why) => NoAnswer::Other(why),
        });
        std::future::ready(answer).boxed()
    }
}

/// Returns an address or `@domain` with the canonical form of its domain. Text of another form stays as it is.
fn canonical(address: &str) -> String {
    let parts = address.rsplit_once('@');
    parts.map_or_else(
        || address.to_owned(),
        |(local, domain)| format!("{local}@{}", canonical_name(domain)),
    )
}

fn canonical_name(domain: &str) -> String {
    canonical_domain(domain).map_or_else(|| domain.to_owned(), |canonical| canonical.into_owned())
}

fn directory_entry(entry: posthouse_cases::Entry) -> DirectoryEntry {
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

/// Answers the host's own lookups, such as for local domains.
impl Directory for CaseHost {
    fn lookup<'a>(&'a self, address: &'a Mailbox) -> BoxFuture<'a, Result<Vec<Entry>, LookupError>> {
        let fixture = self.0.lock();
        let entries = fixture.lookup(address.as_str()).map_err(unavailable);
        let entries = entries.map(|entries| entries.into_iter().filter_map(entry).collect());
        std::future::ready(entries).boxed()
    }

    fn may_send_as<'a>(&'a self, account: &'a str, address: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        let fixture = self.0.lock();
        let truth = fixture.may_send_as(account, address.as_str()).map_err(unavailable);
        std::future::ready(truth).boxed()
    }

    fn is_local_domain<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<bool, LookupError>> {
        let fixture = self.0.lock();
        let truth = fixture.is_local_domain(domain).map_err(unavailable);
        std::future::ready(truth).boxed()
    }

    fn is_member<'a>(&'a self, group: &'a Mailbox, address: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        let fixture = self.0.lock();
        let truth = fixture.is_member(group.as_str(), address.as_str()).map_err(unavailable);
        std::future::ready(truth).boxed()
    }

    /// Refuses every login. A case states the authenticated account in its client.
    fn authenticate<'a>(&'a self, _: Login<'a>) -> BoxFuture<'a, Result<Option<String>, LookupError>> {
        std::future::ready(Ok(None)).boxed()
    }
}

fn unavailable(error: CaseNoAnswer) -> LookupError {
    LookupError::Unavailable(error.to_string())
}

/// Converts an entry of the fixture. Returns `None` if its address is invalid, since no lookup finds such an entry.
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

#[cfg(test)]
mod tests {
    use super::*;
    use posthouse_cases::CaseFile;

    #[test]
    fn directory_knows_every_spelling_of_a_domain() {
        let text = "[directory]\ndomains = ['BÜCHER.example']\n\
                    account = [{ name = 'anna', addresses = ['anna@bücher.example'], send-as = ['@xn--bcher-kva.example'] }]\n\
                    group = [{ address = 'staff@xn--bcher-kva.example', members = ['anna@BÜCHER.example'] }]\n\
                    [[case]]\nname = 'x'\nsender = '<>'\nexpect.sender = 'pass'\n";
        let file = CaseFile::parse(text, "c.toml").expect("a file of cases");
        let host = CaseHost::new(file.fixture(&file.cases[0]));
        for domain in ["bücher.example", "xn--bcher-kva.example", "BÜCHER.EXAMPLE"] {
            let address: Mailbox = format!("anna@{domain}").parse().expect("an address");
            let entries = host.lookup(&address).now_or_never().expect("ready").expect("asked");
            assert_eq!(entries.len(), 1, "{domain}");
            let other = format!("x@{domain}").parse().expect("an address");
            let may = host.may_send_as("anna", &other).now_or_never().expect("ready");
            assert!(matches!(may, Ok(true)), "{domain}");
            let call = Call::IsMember {
                group: format!("staff@{domain}"),
                address: format!("anna@{domain}"),
            };
            assert!(matches!(host.answer_call(&call), Ok(Answer::Truth(true))), "{domain}");
            let call = Call::IsLocalDomain {
                domain: domain.to_owned(),
            };
            assert!(matches!(host.answer_call(&call), Ok(Answer::Truth(true))), "{domain}");
        }
    }
}
