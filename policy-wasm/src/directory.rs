//! Questions to the directory, so that rules can be tested without a host.

pub use posthouse_policy::domain_of;
use posthouse_policy::{Entry, Host, NoAnswer};

/// What the rules ask the directory.
pub trait Directory {
    /// Every meaning of an address: none is not known, several is ambiguous.
    fn lookup(&self, address: &str) -> Result<Vec<Entry>, NoAnswer>;
    /// May this account use this address as originator?
    fn may_send_as(&self, account: &str, address: &str) -> Result<bool, NoAnswer>;
    /// Is this domain one of the directory's own?
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
