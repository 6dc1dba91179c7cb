//! Calls of the real host. A component imports only the functions that its policy calls.

use super::{Entry, Exchange, Finding, Home, Host, Level, NoAnswer};
use crate::__bindings::imports::posthouse::policy::{counters, directory, dns, host, verification};
use crate::message_reader::Message;

impl Host {
    pub(crate) fn live() -> Self {
        Self { _live: () }
    }

    pub(super) fn ask_lookup(&self, address: &str) -> Result<Vec<Entry>, NoAnswer> {
        Ok(directory::lookup(address)?.into_iter().map(Entry::from).collect())
    }

    pub(super) fn ask_may_send_as(&self, account: &str, address: &str) -> Result<bool, NoAnswer> {
        Ok(directory::may_send_as(account, address)?)
    }

    pub(super) fn ask_is_local_domain(&self, domain: &str) -> Result<bool, NoAnswer> {
        Ok(directory::is_local_domain(domain)?)
    }

    pub(super) fn ask_is_member(&self, group: &str, address: &str) -> Result<bool, NoAnswer> {
        Ok(directory::is_member(group, address)?)
    }

    pub(super) fn ask_now(&self) -> u64 {
        host::now()
    }

    pub(super) fn log(&self, level: Level, line: &str) {
        let level = match level {
            Level::Debug => host::Level::Debug,
            Level::Info => host::Level::Info,
            Level::Warning => host::Level::Warning,
            Level::Error => host::Level::Error,
        };
        host::log(level, line);
    }

    pub(super) fn ask_addresses(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        Ok(dns::addresses(name)?)
    }

    pub(super) fn ask_exchanges(&self, name: &str) -> Result<Vec<Exchange>, NoAnswer> {
        let convert = |exchange: dns::Exchange| Exchange {
            preference: exchange.preference,
            name: exchange.name,
        };
        Ok(dns::exchanges(name)?.into_iter().map(convert).collect())
    }

    pub(super) fn ask_texts(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        Ok(dns::texts(name)?)
    }

    pub(super) fn ask_names(&self, address: &str) -> Result<Vec<String>, NoAnswer> {
        Ok(dns::names(address)?)
    }

    pub(super) fn ask_count(&self, key: &str, amount: u64, seconds: u32) -> Result<u64, NoAnswer> {
        Ok(counters::add(key, amount, seconds)?)
    }

    pub(super) fn ask_counted(&self, key: &str) -> Result<u64, NoAnswer> {
        Ok(counters::value(key)?)
    }

    pub(super) fn ask_findings(&self, message: &Message<'_>) -> Vec<Finding> {
        let convert = |finding: verification::Finding| Finding {
            method: finding.method,
            outcome: finding.outcome,
            domain: finding.domain,
            detail: finding.detail,
        };
        verification::findings(message.handle())
            .into_iter()
            .map(convert)
            .collect()
    }
}

impl From<directory::Entry> for Entry {
    fn from(entry: directory::Entry) -> Self {
        Self {
            account: entry.account,
            address: entry.address,
            home: match entry.home {
                directory::Home::Here => Home::Here,
                directory::Home::Elsewhere(host) => Home::Elsewhere(host),
            },
            kind: entry.kind,
        }
    }
}

impl From<directory::LookupError> for NoAnswer {
    fn from(error: directory::LookupError) -> Self {
        match error {
            directory::LookupError::Unavailable(reason) => Self::Unavailable(reason),
            directory::LookupError::Other(reason) => Self::Other(reason),
        }
    }
}

impl From<dns::DnsError> for NoAnswer {
    fn from(error: dns::DnsError) -> Self {
        match error {
            dns::DnsError::Unavailable(reason) => Self::Unavailable(reason),
            dns::DnsError::Other(reason) => Self::Other(reason),
        }
    }
}

impl From<counters::CounterError> for NoAnswer {
    fn from(error: counters::CounterError) -> Self {
        match error {
            counters::CounterError::Unavailable(reason) => Self::Unavailable(reason),
            counters::CounterError::Full => Self::Full,
            counters::CounterError::Other(reason) => Self::Other(reason),
        }
    }
}
