//! DNS resolution for policies and for the lookup of mail exchanges: plain DNS with the system's resolvers or with
//! configured resolvers. Answers are cached and bounded in time and number. The resolver sends no traffic before the
//! first question.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::join;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

use host_config::DnsConfig;
use host_mail::canonical_domain;

/// Maximum number of records returned for an answer; further records are dropped.
pub(super) const MAX_RECORDS: usize = 64;
/// Longest domain name without the final dot, in bytes (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;
/// Longest label of a domain name, in bytes (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// Reason why a question has no answer. An empty set of records is an answer, not an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRecords {
    /// Resolution failed: time-out, failure of every server, or unusable resolver configuration.
    #[error("{0}")]
    Unavailable(String),
    /// The name is not a domain name.
    #[error("{0:?} is not a domain name")]
    BadName(String),
}

/// A DNS resolver with a cache. Files are read and sockets are opened with the first question only.
pub struct Resolver {
    settings: DnsConfig,
    started: OnceCell<TokioResolver>,
}

impl Resolver {
    /// Creates a resolver, without I/O.
    pub fn new(settings: DnsConfig) -> Self {
        Self {
            settings,
            started: OnceCell::new(),
        }
    }

    /// Returns the settings of this resolver.
    pub fn settings(&self) -> &DnsConfig {
        &self.settings
    }

    /// Returns the IPv4 addresses of a name, followed by the IPv6 addresses. If either lookup fails, the addresses of
    /// the other lookup are the answer; an error is returned if the other lookup found no address.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, NoRecords> {
        let four = self.records(name, RecordType::A, |data| match data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            _ => None,
        });
        let six = self.records(name, RecordType::AAAA, |data| match data {
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        });
        match join!(four, six) {
            (Ok(mut four), Ok(six)) => {
                four.extend(six);
                four.truncate(MAX_RECORDS);
                Ok(four)
            }
            (Ok(found), Err(_)) | (Err(_), Ok(found)) if !found.is_empty() => Ok(found),
            (Err(why), _) | (_, Err(why)) => Err(why),
        }
    }

    /// Returns preference and name of the mail exchangers, most preferred first. The root, `.`, means that the domain
    /// accepts no mail (RFC 7505).
    pub async fn exchanges(&self, name: &str) -> Result<Vec<(u16, String)>, NoRecords> {
        let mut found = self
            .records(name, RecordType::MX, |data| match data {
                RData::MX(mx) => Some((mx.preference, text_of(&mx.exchange))),
                _ => None,
            })
            .await?;
        found.sort();
        Ok(found)
    }

    /// Returns the TXT records of a name; bytes that are not UTF-8 become U+FFFD.
    pub async fn texts(&self, name: &str) -> Result<Vec<String>, NoRecords> {
        self.records(name, RecordType::TXT, |data| match data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        })
        .await
    }

    /// Returns the names of an address (PTR records).
    pub async fn names(&self, address: IpAddr) -> Result<Vec<String>, NoRecords> {
        let name = Name::from(address.to_canonical()).to_ascii();
        self.records(&name, RecordType::PTR, |data| match data {
            RData::PTR(name) => Some(text_of(&name.0)),
            _ => None,
        })
        .await
    }

    /// Returns the underlying resolver, started if necessary.
    pub async fn resolver(&self) -> Result<&TokioResolver, NoRecords> {
        let start = || async {
            let settings = self.settings.clone();
            // Reading the system's configuration blocks.
            let started = tokio::task::spawn_blocking(move || start(&settings)).await;
            let started = started.map_err(|error| error.to_string()).and_then(|started| started);
            started.map_err(NoRecords::Unavailable)
        };
        self.started.get_or_try_init(start).await
    }

    async fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        pick: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, NoRecords> {
        let name = domain_name(name)?;
        let resolver = self.resolver().await?;
        let answer = tokio::time::timeout(self.settings.timeout, resolver.lookup(name, kind)).await;
        match answer {
            Ok(Ok(found)) => {
                let records = found.answers().iter();
                Ok(records
                    .filter_map(|record| pick(&record.data))
                    .take(MAX_RECORDS)
                    .collect())
            }
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(_)))) => Ok(Vec::new()),
            Ok(Err(error)) => Err(NoRecords::Unavailable(error.to_string())),
            Err(_) => Err(NoRecords::Unavailable("no answer in time".to_owned())),
        }
    }
}

/// A holder of the resolvers for the configuration in force.
pub struct Current(ArcSwap<Resolver>);

impl Current {
    /// Creates a resolver, without I/O.
    pub fn new(settings: DnsConfig) -> Self {
        Self(ArcSwap::from_pointee(Resolver::new(settings)))
    }

    /// Returns the resolver in force.
    pub fn get(&self) -> Arc<Resolver> {
        self.0.load_full()
    }

    /// Applies a configuration that was read again. The resolver and the cache are kept if the settings are unchanged
    /// and name the servers; the system's resolvers may have changed and are read again.
    pub fn configure(&self, settings: &DnsConfig) {
        if settings.servers.is_empty() || self.get().settings() != settings {
            self.0.store(Arc::new(Resolver::new(settings.clone())));
        }
    }
}

fn start(settings: &DnsConfig) -> Result<TokioResolver, String> {
    let system = || read_system_conf().map_err(|error| format!("the system's resolver configuration: {error}"));
    let (config, mut options) = if settings.servers.is_empty() {
        system()?
    } else {
        let servers = settings.servers.iter().copied().map(server).collect();
        (ResolverConfig::from_name_servers(servers), ResolverOpts::default())
    };
    options.timeout = (settings.timeout / 2).max(Duration::from_millis(1));
    options.attempts = 1;
    options.cache_size = settings.cache_size;
    options.use_hosts_file = ResolveHosts::Never;
    options.edns0 = true;
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .with_tls_config(no_tls()?)
        .build()
        .map_err(|error| error.to_string())
}

fn server(address: SocketAddr) -> NameServerConfig {
    let at = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

/// Returns a TLS configuration without root certificates. Servers are asked over UDP and TCP only; the empty
/// configuration keeps the resolver from reading the system's certificates.
fn no_tls() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// Parses a domain name of letters, digits, hyphens and underscores (as in `_dmarc`). The name is fully qualified:
/// search domains are never appended.
pub(super) fn domain_name(text: &str) -> Result<Name, NoRecords> {
    let bad = || NoRecords::BadName(text.chars().take(MAX_NAME).collect());
    let bare = text.strip_suffix('.').unwrap_or(text);
    let fits = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if bare.len() > MAX_NAME || !bare.split('.').all(fits) {
        return Err(bad());
    }
    let mut name = Name::from_ascii(bare).map_err(|_| bad())?;
    name.set_fqdn(true);
    Ok(name)
}

/// Converts a domain to A-labels in lower case ([`canonical_domain`]). Returns `None` if the conversion fails. An ASCII
/// domain is not checked.
pub fn ascii(domain: &str) -> Option<String> {
    if domain.is_ascii() {
        return Some(domain.to_ascii_lowercase());
    }
    canonical_domain(domain).map(Cow::into_owned)
}

/// Formats a name in lower case without the final dot; the root is `.`.
pub(super) fn text_of(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    match text.strip_suffix('.') {
        Some(bare) if !bare.is_empty() => bare.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests;
