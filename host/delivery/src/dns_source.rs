//! Source of the DNS answers about a domain's exchanges.

use std::net::IpAddr;

use host_directory::dns::{NoRecords, Resolver};
use host_directory::secure_dns::SecureResolver;

/// Resolver of a lookup.
#[derive(Clone, Copy)]
pub(super) enum DnsSource<'a> {
    /// Resolver without security status: no answer is secure.
    Plain(&'a Resolver),
    /// Validating resolver on loopback.
    Secure(&'a SecureResolver),
}

/// Addresses of an exchange.
pub(super) struct HostAddresses {
    pub(super) addresses: Vec<IpAddr>,
    /// Name that has the addresses, after all aliases, if the answer is secure.
    pub(super) secure_name: Option<String>,
}

impl DnsSource<'_> {
    /// Returns preference and name of the exchanges, and true if the answer is secure.
    pub(super) async fn exchanges(self, name: &str) -> Result<(Vec<(u16, String)>, bool), NoRecords> {
        match self {
            Self::Plain(resolver) => Ok((resolver.exchanges(name).await?, false)),
            Self::Secure(resolver) => resolver.exchanges(name).await,
        }
    }

    /// Returns the addresses of a name.
    pub(super) async fn addresses(self, name: &str) -> Result<HostAddresses, NoRecords> {
        match self {
            Self::Plain(resolver) => Ok(HostAddresses {
                addresses: resolver.addresses(name).await?,
                secure_name: None,
            }),
            Self::Secure(resolver) => {
                let found = resolver.addresses(name).await?;
                Ok(HostAddresses {
                    addresses: found.addresses,
                    secure_name: found.is_secure.then_some(found.canonical_name),
                })
            }
        }
    }
}
