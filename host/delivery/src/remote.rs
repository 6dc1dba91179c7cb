//! Another server that mail is sent to, with the settings that the configuration has for it.

use std::fmt;
use std::sync::Arc;

use host_config::{DeliveryConfig, HopRef, HopSettings, ServerLogin, TlsLevel};
use host_mail::Endpoint;

/// Protocol for a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033: a reply for each recipient after the message.
    Lmtp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smtp => "smtp",
            Self::Lmtp => "lmtp",
        })
    }
}

/// A server, or a domain whose mail exchanges are equivalent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Remote {
    /// A server and the protocol for it.
    Server { protocol: Protocol, endpoint: Endpoint },
    /// The mail exchanges of a domain.
    Exchanges(String),
    /// A next hop with a name, whose settings are those of the name.
    Named(Arc<str>, Box<Remote>),
}

impl Remote {
    /// Name of the host or domain, without the port.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Server { endpoint, .. } => endpoint.host(),
            Self::Exchanges(domain) => domain.clone(),
            Self::Named(_, remote) => remote.host(),
        }
    }

    /// True for a remote that speaks SMTP.
    pub(super) fn is_smtp(&self) -> bool {
        match self {
            Self::Server { protocol, .. } => *protocol == Protocol::Smtp,
            Self::Exchanges(_) => true,
            Self::Named(_, remote) => remote.is_smtp(),
        }
    }

    /// Returns the server or the exchanges without the name of the next hop.
    pub(super) fn unnamed(&self) -> &Self {
        match self {
            Self::Named(_, remote) => remote,
            unnamed => unnamed,
        }
    }

    /// Next hop of the configuration that leads to this remote.
    fn next_hop(&self) -> HopRef<'_> {
        match self {
            Self::Server { endpoint, .. } => HopRef::Server(endpoint),
            Self::Exchanges(_) => HopRef::Exchanges,
            Self::Named(name, _) => HopRef::Named(name),
        }
    }

    /// Settings of the remote; `None` if it has none of its own.
    pub(super) fn settings<'a>(&self, delivery: &'a DeliveryConfig) -> Option<&'a Arc<HopSettings>> {
        match self {
            _ if delivery.hops.is_empty() => None,
            Self::Exchanges(domain) => delivery.settings_of_exchanges(domain),
            Self::Server { .. } | Self::Named(..) => delivery.settings_of(self.next_hop()),
        }
    }

    /// Login of this host at the remote.
    pub(super) fn login<'a>(&self, delivery: &'a DeliveryConfig) -> Option<&'a ServerLogin> {
        if delivery.logins.is_empty() || matches!(self, Self::Exchanges(_)) {
            return None;
        }
        let hop = self.next_hop();
        delivery.logins.iter().find(|login| login.server.borrowed() == hop)
    }

    /// TLS level of the remote.
    pub(super) fn tls_level(&self, delivery: &DeliveryConfig) -> TlsLevel {
        match self {
            // A password is sent only to a server whose certificate verifies.
            _ if self.login(delivery).is_some() => TlsLevel::Verify,
            Self::Exchanges(domain) => delivery.exchanges_level(domain),
            Self::Server { .. } => delivery.hop_level(self.next_hop()).of_server(),
            Self::Named(_, remote) => match **remote {
                Self::Server { .. } => delivery.hop_level(self.next_hop()).of_server(),
                Self::Exchanges(_) | Self::Named(..) => delivery.hop_level(self.next_hop()),
            },
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { protocol, endpoint } => write!(f, "{protocol}:{endpoint}"),
            Self::Exchanges(domain) => write!(f, "mx:{domain}"),
            Self::Named(name, remote) => write!(f, "{remote}/{name}"),
        }
    }
}
