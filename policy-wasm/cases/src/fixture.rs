//! The host of a case: what it answers when a policy asks.

use crate::case::{Finding, Service};
use crate::counters::Counters;
use crate::directory::{Directory, Entry};
use crate::dns::{Dns, Records};

/// A host that exists only in a file. The functions are those of the contract's imports.
#[derive(Debug, Clone, Default)]
pub struct Fixture {
    /// Seconds since 1970.
    pub now: u64,
    /// Who is who.
    pub directory: Directory,
    /// What the DNS has.
    pub dns: Dns,
    /// What was counted.
    pub counters: Counters,
    /// What verification finds in the message.
    pub findings: Vec<Finding>,
    /// What cannot be asked.
    pub unavailable: Vec<Service>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It may pass.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// It will not pass.
    #[error("{0}")]
    Other(String),
}

impl Fixture {
    fn ask(&self, service: Service) -> Result<(), NoAnswer> {
        match self.unavailable.contains(&service) {
            true => Err(NoAnswer::Unavailable("the case says so".to_owned())),
            false => Ok(()),
        }
    }

    /// `directory.lookup`.
    ///
    /// # Errors
    /// The case says that the directory is unavailable; so with the next three.
    pub fn lookup(&self, address: &str) -> Result<Vec<Entry>, NoAnswer> {
        self.ask(Service::Directory)?;
        Ok(self.directory.lookup(address))
    }

    /// `directory.may-send-as`.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub fn may_send_as(&self, account: &str, address: &str) -> Result<bool, NoAnswer> {
        self.ask(Service::Directory)?;
        Ok(self.directory.may_send_as(account, address))
    }

    /// `directory.is-local-domain`.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub fn is_local_domain(&self, domain: &str) -> Result<bool, NoAnswer> {
        self.ask(Service::Directory)?;
        Ok(self.directory.is_local_domain(domain))
    }

    /// `directory.is-member`.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub fn is_member(&self, group: &str, address: &str) -> Result<bool, NoAnswer> {
        self.ask(Service::Directory)?;
        Ok(self.directory.is_member(group, address))
    }

    /// What there is at a name, for `dns.addresses`, `exchanges` and `texts`, or at an address, for
    /// `dns.names`.
    ///
    /// # Errors
    /// The case says that the DNS is unavailable, or that this name fails.
    pub fn records(&self, name: &str) -> Result<Records, NoAnswer> {
        self.ask(Service::Dns)?;
        self.dns.records(name).map_err(NoAnswer::Unavailable)
    }

    /// `counters.add`.
    ///
    /// # Errors
    /// The case says that the counters are unavailable, or the key is too long.
    pub fn add(&mut self, key: &str, amount: u64) -> Result<u64, NoAnswer> {
        self.ask(Service::Counters)?;
        self.counters.add(key, amount).map_err(NoAnswer::Other)
    }

    /// `counters.value`.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn value(&self, key: &str) -> Result<u64, NoAnswer> {
        self.ask(Service::Counters)?;
        self.counters.value(key).map_err(NoAnswer::Other)
    }
}
