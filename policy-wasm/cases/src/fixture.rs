//! The simulated host of a case, which answers the questions of a policy.

use crate::case::{Finding, Service};
use crate::case_counters::Counters;
use crate::case_directory::{Directory, Entry};
use crate::case_dns::{Dns, Records};

/// A host that exists only in a file. The functions correspond to the contract's imports.
#[derive(Debug, Clone, Default)]
pub struct Fixture {
    /// Current time, in seconds since 1970.
    pub now: u64,
    /// The directory.
    pub directory: Directory,
    /// DNS records.
    pub dns: Dns,
    /// Counters.
    pub counters: Counters,
    /// Results of verification.
    pub findings: Vec<Finding>,
    /// Unavailable services.
    pub unavailable: Vec<Service>,
}

/// The reason for the absence of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// A temporary condition.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// A permanent condition.
    #[error("{0}")]
    Other(String),
}

impl Fixture {
    fn require_available(&self, service: Service) -> Result<(), NoAnswer> {
        match self.unavailable.contains(&service) {
            true => Err(NoAnswer::Unavailable("the case says so".to_owned())),
            false => Ok(()),
        }
    }

    /// Answers `directory.lookup`.
    ///
    /// # Errors
    /// The case makes the directory unavailable.
    pub fn lookup(&self, address: &str) -> Result<Vec<Entry>, NoAnswer> {
        self.require_available(Service::Directory)?;
        Ok(self.directory.lookup(address))
    }

    /// Answers `directory.may-send-as`.
    ///
    /// # Errors
    /// The case makes the directory unavailable.
    pub fn may_send_as(&self, account: &str, address: &str) -> Result<bool, NoAnswer> {
        self.require_available(Service::Directory)?;
        Ok(self.directory.may_send_as(account, address))
    }

    /// Answers `directory.is-local-domain`.
    ///
    /// # Errors
    /// The case makes the directory unavailable.
    pub fn is_local_domain(&self, domain: &str) -> Result<bool, NoAnswer> {
        self.require_available(Service::Directory)?;
        Ok(self.directory.is_local_domain(domain))
    }

    /// Answers `directory.is-member`.
    ///
    /// # Errors
    /// The case makes the directory unavailable.
    pub fn is_member(&self, group: &str, address: &str) -> Result<bool, NoAnswer> {
        self.require_available(Service::Directory)?;
        Ok(self.directory.is_member(group, address))
    }

    /// Returns the records of a name, for `dns.addresses`, `dns.exchanges` and `dns.texts`, or of an address, for
    /// `dns.names`.
    ///
    /// # Errors
    /// The case makes the DNS unavailable, or the file lets this name fail.
    pub fn records(&self, name: &str) -> Result<Records, NoAnswer> {
        self.require_available(Service::Dns)?;
        self.dns.records(name).map_err(NoAnswer::Unavailable)
    }

    /// Answers `counters.add`.
    ///
    /// # Errors
    /// The case makes the counters unavailable, or the key is longer than 256 bytes.
    pub fn add(&mut self, key: &str, amount: u64) -> Result<u64, NoAnswer> {
        self.require_available(Service::Counters)?;
        self.counters.add(key, amount).map_err(NoAnswer::Other)
    }

    /// Answers `counters.value`.
    ///
    /// # Errors
    /// The case makes the counters unavailable, or the key is longer than 256 bytes.
    pub fn value(&self, key: &str) -> Result<u64, NoAnswer> {
        self.require_available(Service::Counters)?;
        self.counters.value(key).map_err(NoAnswer::Other)
    }
}
