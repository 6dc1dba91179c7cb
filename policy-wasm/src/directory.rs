//! Questions to the directory, so that rules can be tested without a host.

use crate::contract::directory::{Entry, LookupError};

/// The `directory` import of the contract.
pub trait Directory {
    /// Every meaning of an address: none is not known, several is ambiguous.
    fn lookup(&self, address: &str) -> Result<Vec<Entry>, LookupError>;
    /// May this account use this address as originator?
    fn may_send_as(&self, account: &str, address: &str) -> Result<bool, LookupError>;
    /// Is this domain one of the directory's own?
    fn is_local_domain(&self, domain: &str) -> Result<bool, LookupError>;
}

/// The host's directory.
pub struct Host;

impl Directory for Host {
    fn lookup(&self, address: &str) -> Result<Vec<Entry>, LookupError> {
        crate::contract::directory::lookup(address)
    }

    fn may_send_as(&self, account: &str, address: &str) -> Result<bool, LookupError> {
        crate::contract::directory::may_send_as(account, address)
    }

    fn is_local_domain(&self, domain: &str) -> Result<bool, LookupError> {
        crate::contract::directory::is_local_domain(domain)
    }
}

/// What follows the last `@`, or nothing.
pub fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}
