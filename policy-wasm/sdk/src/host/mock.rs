//! The host of tests, which a [`Fixture`] answers for.

use std::cell::{Cell, RefCell};

use posthouse_cases::{Fixture, Log};

use super::{Entry, Exchange, Finding, Home, Host, Level, NoAnswer};
use crate::message_reader::Message;

#[derive(Default)]
pub(super) struct Mock {
    fixture: RefCell<Fixture>,
    log: RefCell<Vec<Log>>,
    questions: Cell<usize>,
}

impl Default for Host {
    fn default() -> Self {
        Fixture::default().into()
    }
}

impl From<Fixture> for Host {
    fn from(fixture: Fixture) -> Self {
        let mock = Mock::default();
        mock.fixture.replace(fixture);
        Self { mock }
    }
}

/// Observations of tests.
impl Host {
    /// Returns the lines that the policy logged.
    pub fn logged(&self) -> Vec<Log> {
        self.mock.log.borrow().clone()
    }

    /// Returns the number of questions to directory, DNS, counters and verification.
    pub fn questions(&self) -> usize {
        self.mock.questions.get()
    }

    fn ask<T, E: Into<NoAnswer>>(&self, question: impl FnOnce(&mut Fixture) -> Result<T, E>) -> Result<T, NoAnswer> {
        self.mock.questions.set(self.mock.questions.get() + 1);
        question(&mut self.mock.fixture.borrow_mut()).map_err(Into::into)
    }

    pub(super) fn ask_lookup(&self, address: &str) -> Result<Vec<Entry>, NoAnswer> {
        let entries = self.ask(|fixture| fixture.lookup(address))?;
        Ok(entries.into_iter().map(Entry::from).collect())
    }

    pub(super) fn ask_may_send_as(&self, account: &str, address: &str) -> Result<bool, NoAnswer> {
        self.ask(|fixture| fixture.may_send_as(account, address))
    }

    pub(super) fn ask_is_local_domain(&self, domain: &str) -> Result<bool, NoAnswer> {
        self.ask(|fixture| fixture.is_local_domain(domain))
    }

    pub(super) fn ask_is_member(&self, group: &str, address: &str) -> Result<bool, NoAnswer> {
        self.ask(|fixture| fixture.is_member(group, address))
    }

    pub(super) fn ask_now(&self) -> u64 {
        self.mock.fixture.borrow().now
    }

    pub(super) fn log(&self, level: Level, line: &str) {
        let level = match level {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        let text = line.to_owned();
        self.mock.log.borrow_mut().push(Log { level, text });
    }

    pub(super) fn ask_addresses(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        Ok(self.ask(|fixture| fixture.records(name))?.addresses)
    }

    pub(super) fn ask_exchanges(&self, name: &str) -> Result<Vec<Exchange>, NoAnswer> {
        let convert = |exchange: posthouse_cases::Exchange| Exchange {
            preference: exchange.preference,
            name: exchange.name,
        };
        let records = self.ask(|fixture| fixture.records(name))?;
        Ok(records.exchanges.into_iter().map(convert).collect())
    }

    pub(super) fn ask_texts(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        Ok(self.ask(|fixture| fixture.records(name))?.texts)
    }

    pub(super) fn ask_names(&self, address: &str) -> Result<Vec<String>, NoAnswer> {
        Ok(self.ask(|fixture| fixture.records(address))?.names)
    }

    pub(super) fn ask_count(&self, key: &str, amount: u64, _seconds: u32) -> Result<u64, NoAnswer> {
        self.ask(|fixture| fixture.add(key, amount))
    }

    pub(super) fn ask_counted(&self, key: &str) -> Result<u64, NoAnswer> {
        self.ask(|fixture| fixture.value(key))
    }

    pub(super) fn ask_findings(&self, _message: &Message<'_>) -> Vec<Finding> {
        let convert = |finding: &posthouse_cases::Finding| Finding {
            method: finding.method.clone(),
            outcome: finding.outcome.clone(),
            domain: finding.domain.clone(),
            detail: finding.detail.clone(),
        };
        let findings = self.ask(|fixture| Ok::<_, NoAnswer>(fixture.findings.iter().map(convert).collect()));
        findings.unwrap_or_default()
    }
}

impl From<posthouse_cases::NoAnswer> for NoAnswer {
    fn from(error: posthouse_cases::NoAnswer) -> Self {
        match error {
            posthouse_cases::NoAnswer::Unavailable(reason) => Self::Unavailable(reason),
            posthouse_cases::NoAnswer::Other(reason) => Self::Other(reason),
        }
    }
}

impl From<posthouse_cases::Entry> for Entry {
    fn from(entry: posthouse_cases::Entry) -> Self {
        Self {
            account: entry.account,
            address: entry.address,
            home: entry.elsewhere.map_or(Home::Here, Home::Elsewhere),
            kind: entry.kind.to_owned(),
        }
    }
}
