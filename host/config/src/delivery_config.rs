//! Checked settings of delivery: next hops, routes to them, and what holds for each next hop.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use host_mail::{Endpoint, Mailbox};

/// Settings of delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryConfig {
    /// Next hops of mail that has no home on this host and no route, in order; an empty list means that such mail
    /// cannot be delivered.
    pub smart_host: Vec<NextHop>,
    /// Next hops by domain, sender, account or listener; a route takes precedence over the smart host.
    pub routes: Vec<Route>,
    /// Credentials for remote servers.
    pub logins: Vec<ServerLogin>,
    /// Waits between attempts; the last repeats. Never empty.
    pub retry: Vec<Duration>,
    /// Age at which a message is given up.
    pub expire: Duration,
    /// Age at which the sender of a message that is still deferred is told, once; `None` tells no sender.
    pub delay_notice: Option<Duration>,
    /// Maximum number of messages that this host resolves and writes to mailboxes at the same time.
    pub concurrency: usize,
    /// Maximum number of concurrent connections to other hosts.
    pub connections: usize,
    /// Maximum number of concurrent connections to the same destination.
    pub per_destination: usize,
    /// Time-out of connecting to a remote.
    pub connect_timeout: Duration,
    /// Time-out of a remote's reply.
    pub reply_timeout: Duration,
    /// TLS level of every next hop without a level of its own.
    pub tls: TlsLevel,
    /// Settings of single next hops.
    pub hops: Vec<Arc<HopSettings>>,
    /// Networks inside this site in which a mail exchange that the DNS names may stand.
    pub private_exchanges: Vec<IpNet>,
    /// Reports about TLS sessions to the domains that ask for them; `None` sends none.
    pub tls_reports: Option<TlsReportConfig>,
}

/// Settings of reports about TLS sessions (RFC 8460).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsReportConfig {
    /// Sender of the reports, and contact in them.
    pub contact: Mailbox,
    /// Name of the organization; `None` is the name of this host.
    pub organization: Option<String>,
}

impl DeliveryConfig {
    /// True if a level of any next hop looks up TLSA records.
    pub fn asks_dane(&self) -> bool {
        let of_hops = self.hops.iter().filter_map(|hop| hop.tls);
        let of_routes = self.routes.iter().filter_map(|route| route.tls);
        of_hops.chain(of_routes).chain([self.tls]).any(TlsLevel::asks_dane)
    }

    /// TLS level of a next hop: that of the routes to it, else its own, else that of all next hops. Of several routes
    /// the strictest counts. For the exchanges of a domain see [`Self::exchanges_level`].
    pub fn hop_level(&self, hop: HopRef<'_>) -> TlsLevel {
        let fallback = self.settings_of(hop).and_then(|own| own.tls).unwrap_or(self.tls);
        let routes = self.routes.iter().filter(|route| is_among(hop, &route.to));
        let levels = routes.map(|route| route.tls.unwrap_or(fallback));
        let smart_host = is_among(hop, &self.smart_host).then_some(fallback);
        levels.chain(smart_host).max().unwrap_or(fallback)
    }

    /// TLS level of a domain's exchanges: the strictest of the routes of the domain or of its nearest parent, else that
    /// of the exchanges' settings, else that of all next hops.
    pub fn exchanges_level(&self, domain: &str) -> TlsLevel {
        let of_name = |name: &str| {
            let routes = self.routes.iter().filter(|route| route.domain.as_deref() == Some(name));
            let levels: Vec<_> = routes.map(|route| route.tls).collect();
            (!levels.is_empty()).then(|| levels.into_iter().flatten().max())
        };
        with_parents(domain)
            .find_map(of_name)
            .flatten()
            .or_else(|| self.settings_of_exchanges(domain).and_then(|own| own.tls))
            .unwrap_or(self.tls)
    }

    /// Returns the settings of a named next hop or of a server.
    pub fn settings_of(&self, hop: HopRef<'_>) -> Option<&Arc<HopSettings>> {
        self.hops.iter().find(|own| match (&own.name, &own.key, hop) {
            (Some(own), _, HopRef::Named(name)) => **own == *name,
            (None, HopKey::Server(own), HopRef::Server(server)) => own == server,
            (None, HopKey::Exchanges, HopRef::Exchanges) => true,
            _ => false,
        })
    }

    /// Returns the settings of a domain's exchanges: those of the domain, of its nearest parent, or of all exchanges.
    pub fn settings_of_exchanges(&self, domain: &str) -> Option<&Arc<HopSettings>> {
        if self.hops.is_empty() {
            return None;
        }
        let of_name = |name: &str| {
            let is_of = |own: &&Arc<HopSettings>| matches!(&own.key, HopKey::Domain(domain) if domain == name);
            self.hops.iter().find(is_of)
        };
        let by_domain = with_parents(domain).find_map(of_name);
        by_domain.or_else(|| self.settings_of(HopRef::Exchanges))
    }
}

/// Iterates over a domain and its parent domains. An address literal has no parents.
pub fn with_parents(domain: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(domain), |name| {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        parent.filter(|_| !name.starts_with('['))
    })
}

/// Level of TLS towards a next hop, from the loosest to the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsLevel {
    /// Mail goes in the clear.
    None,
    /// TLS is used where it works; any certificate is accepted (RFC 7435).
    May,
    /// Requirements of the domain's MTA-STS policy (RFC 8461), else as [`Self::May`].
    MtaSts,
    /// Requirements of the TLSA records of each exchange (RFC 7672), else as [`Self::May`].
    Dane,
    /// Requirements of the TLSA records of each exchange, else of the MTA-STS policy, else as [`Self::May`].
    Published,
    /// TLS is required; any certificate is accepted.
    Encrypt,
    /// TLS with a certificate that verifies is required.
    Verify,
    /// TLS with a certificate that TLSA records name is required.
    DaneOnly,
}

impl std::fmt::Display for TlsLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl TlsLevel {
    /// Every level.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::May,
        Self::MtaSts,
        Self::Dane,
        Self::Published,
        Self::Encrypt,
        Self::Verify,
        Self::DaneOnly,
    ];

    /// Name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::May => "may",
            Self::MtaSts => "mta-sts",
            Self::Dane => "dane",
            Self::Published => "published",
            Self::Encrypt => "encrypt",
            Self::Verify => "verify",
            Self::DaneOnly => "dane-only",
        }
    }

    /// Level towards a configured server, which is reached without the mail exchanges of a domain: such a server has
    /// no policy to look up.
    pub fn of_server(self) -> Self {
        match self {
            Self::MtaSts | Self::Dane | Self::Published => Self::May,
            Self::DaneOnly => Self::Verify,
            other => other,
        }
    }

    /// True if TLSA records are looked up.
    pub fn asks_dane(self) -> bool {
        matches!(self, Self::Dane | Self::Published | Self::DaneOnly)
    }

    /// True if MTA-STS policies are looked up.
    pub fn asks_mta_sts(self) -> bool {
        matches!(self, Self::MtaSts | Self::Published)
    }
}

/// Next hop of mail that has no home on this host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NextHop {
    /// A server.
    Server(Endpoint),
    /// Mail exchanges of the recipient's domain (RFC 5321 section 5.1).
    Exchanges,
    /// The next hop of this name, one of [`DeliveryConfig::hops`].
    Named(Arc<str>),
}

/// A borrowed [`NextHop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HopRef<'a> {
    /// A server.
    Server(&'a Endpoint),
    /// Mail exchanges of the recipient's domain.
    Exchanges,
    /// The next hop of this name.
    Named(&'a str),
}

impl NextHop {
    /// Borrows the next hop.
    pub fn borrowed(&self) -> HopRef<'_> {
        match self {
            Self::Server(server) => HopRef::Server(server),
            Self::Exchanges => HopRef::Exchanges,
            Self::Named(name) => HopRef::Named(name),
        }
    }
}

fn is_among(hop: HopRef<'_>, hops: &[NextHop]) -> bool {
    hops.iter().any(|other| other.borrowed() == hop)
}

impl std::fmt::Display for NextHop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server(server) => server.fmt(f),
            Self::Exchanges => f.write_str("mx"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// Next hop that settings are for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HopKey {
    /// A server, written as in `smart-host`, in the `to` of a route, or in the directory.
    Server(Endpoint),
    /// Mail exchanges of a domain and of its subdomains.
    Domain(String),
    /// Mail exchanges of every domain.
    Exchanges,
}

/// Settings of a next hop, wherever mail for it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HopSettings {
    /// Name for routes and logins. Mail that comes by the name has these settings; other mail to the same server has
    /// those of the table without a name.
    pub name: Option<Arc<str>>,
    /// Next hop that the settings are for.
    pub key: HopKey,
    /// Level of TLS; `None` is that of all next hops.
    pub tls: Option<TlsLevel>,
    /// Begins connections with the TLS handshake (RFC 8314 section 3.3); `None` does so at port 465.
    pub implicit_tls: Option<bool>,
    /// Trusted certificates.
    pub trust: HopTrust,
    /// Local addresses that connections are made from, at most one of each family; empty lets the system choose.
    pub source_addresses: Vec<IpAddr>,
    /// Argument of EHLO; `None` is the name of this host.
    pub hello: Option<String>,
    /// Share of the mail among the next hops of a list; `None` is 1 where another of the list has a weight.
    pub weight: Option<u32>,
    /// Maximum number of concurrent connections; `None` is that of all destinations.
    pub connections: Option<usize>,
    /// Limits of rate.
    pub rate: HopRate,
}

/// Limits of the rate at which mail is sent to a next hop; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct HopRate {
    /// Messages a minute.
    pub messages: Option<u32>,
    /// Recipients a minute.
    pub recipients: Option<u32>,
}

/// SHA-256 digest of a public key (`SubjectPublicKeyInfo`, RFC 7469 section 2.4).
pub type KeyDigest = [u8; 32];

/// Certificates that a next hop may have where its certificate must verify.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum HopTrust {
    /// Certificates that the system trusts.
    #[default]
    System,
    /// Certificates that a file trusts, read for each new connection.
    File(PathBuf),
    /// Certificates with one of these public keys; names and dates do not count.
    Keys(Vec<KeyDigest>),
}

/// Credentials of this host at a remote server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerLogin {
    /// Server or named next hop, written as in `smart-host` or in the `to` of a route.
    pub server: NextHop,
    /// User name at the server, 1 to 255 bytes.
    pub user: String,
    /// File with the password, read for each new connection.
    pub password_file: PathBuf,
}

/// Route of mail: applies to recipients for which every condition holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Recipient domain, lower case, subdomains included; `None` is every domain.
    pub domain: Option<String>,
    /// Domain of the reverse-path, lower case, subdomains included; `None` is every sender.
    pub sender_domain: Option<String>,
    /// Account that submitted the message, lower case; `None` is every client.
    pub account: Option<String>,
    /// Listener that accepted the message; `None` is every listener.
    pub listener: Option<String>,
    /// Next hops in order. Empty, for a route that only holds mail, means those of the smart host.
    pub to: Vec<NextHop>,
    /// True if the next hops speak LMTP (RFC 2033) instead of SMTP.
    pub lmtp: bool,
    /// TLS level of the next hops; `None` is that of each.
    pub tls: Option<TlsLevel>,
    /// Keeps the mail in the spool until an operator releases each message or the route changes.
    pub hold: bool,
    /// True if mail waits until the next hop asks for it with ETRN (RFC 1985). The route has a domain.
    pub etrn: bool,
}

/// Beginning of the names of queues whose mail waits for ETRN.
pub const HELD_QUEUE: &str = "etrn:";

impl Route {
    /// Name of the queue in which mail of the route waits for ETRN.
    pub fn held_queue(&self) -> String {
        format!("{HELD_QUEUE}{}", self.domain.as_deref().unwrap_or_default())
    }
}
