//! Questions to the directory as a trait, for testing rules without a host.

pub use posthouse_policy::domain_of;
use posthouse_policy::{Entry, Host, NoAnswer};

/// Directory questions that the rules ask. [`Host`] answers from the real directory.
pub trait Directory {
    /// Returns every meaning of an address: an unknown address has no entries, an ambiguous address has several.
    fn lookup(&self, address: &str) -> Result<Vec<Entry>, NoAnswer>;
    /// True if this account may use this address as originator.
    fn may_send_as(&self, account: &str, address: &str) -> Result<bool, NoAnswer>;
    /// True if this domain belongs to the directory.
    fn is_local_domain(&self, domain: &str) -> Result<bool, NoAnswer>;
}

impl Directory for Host {
    fn lookup(&self, address: &str) -> Result<Vec<Entry>, NoAnswer> {
        Host::lookup(self, address)
    }

    fn may_send_as(&self, account: &str, address: &str) -> Result<bool, NoAnswer> {
        Host::may_send_as(self, account, address)
    }

    fn is_local_domain(&self, domain: &str) -> Result<bool, NoAnswer> {
        Host::is_local_domain(self, domain)
    }
}
