//! Routing: the next hop of a recipient's mail.

use std::fmt;
use std::path::PathBuf;

use host_config::{DeliveryConfig, NextHop, Route};
use host_directory::Home;
use host_mail::{Endpoint, Mailbox, Reply};
use host_spool::{Failed, SuccessAction};

use super::outcome::{class, failed_here};
use crate::mail_exchanges;

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
}

impl Remote {
    /// Name of the host or domain, without the port.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Server { endpoint, .. } => endpoint.host(),
            Self::Exchanges(domain) => domain.clone(),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { protocol, endpoint } => write!(f, "{protocol}:{endpoint}"),
            Self::Exchanges(domain) => write!(f, "mx:{domain}"),
        }
    }
}

/// Next hop of a recipient's mail. Recipients with the same destination share an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Destination {
    /// A Maildir on this host.
    Maildir(PathBuf),
    /// Another server.
    Remote(Remote),
}

impl From<Home> for Destination {
    fn from(home: Home) -> Self {
        match home {
            Home::Maildir(path) => Self::Maildir(path),
            Home::Lmtp(endpoint) => Self::remote(Protocol::Lmtp, endpoint),
            Home::Smtp(endpoint) => Self::remote(Protocol::Smtp, endpoint),
        }
    }
}

impl Destination {
    /// True for a remote that speaks SMTP.
    pub(super) fn is_smtp(&self) -> bool {
        match self {
            Self::Maildir(_) => false,
            Self::Remote(Remote::Server { protocol, .. }) => *protocol == Protocol::Smtp,
            Self::Remote(Remote::Exchanges(_)) => true,
        }
    }

    fn remote(protocol: Protocol, endpoint: Endpoint) -> Self {
        Self::Remote(Remote::Server { protocol, endpoint })
    }

    /// Returns the destination of an address that is not local: the route of the domain or of the nearest parent
    /// domain, else the smart host. An address without a route fails with `550`.
    pub(super) fn for_remote_address(address: &Mailbox, delivery: &DeliveryConfig) -> Result<Self, Failed> {
        let domain = address.domain();
        let route = route_of(domain, delivery);
        let (protocol, next_hop) = match route {
            Some(route) if route.lmtp => (Protocol::Lmtp, Some(&route.to)),
            Some(route) => (Protocol::Smtp, Some(&route.to)),
            None => (Protocol::Smtp, delivery.smart_host.as_ref()),
        };
        match next_hop {
            Some(NextHop::Server(endpoint)) => return Ok(Self::remote(protocol, endpoint.clone())),
            // An address literal is not looked up in the DNS.
            Some(NextHop::Exchanges) if !domain.starts_with('[') => {
                return Ok(Self::Remote(Remote::Exchanges(domain.to_owned())));
            }
            Some(NextHop::Exchanges) | None => {}
        }
        let reply = if domain.starts_with('[') {
            Reply::new(
                550,
                (5, 1, 2),
                format!("Mail to the address literal {domain} is not sent"),
            )
        } else {
            Reply::new(550, (5, 4, 4), format!("No route to {domain}"))
        };
        Err(failed_here(class::HOST_NOT_FOUND, reply))
    }

    /// Returns the end of this host's part in a delivery to the destination. An LMTP server delivers (RFC 2033); another host passes on.
    pub(super) fn success(&self) -> SuccessAction {
        match self {
            Self::Remote(Remote::Exchanges(_))
            | Self::Remote(Remote::Server {
                protocol: Protocol::Smtp,
                ..
            }) => SuccessAction::Relayed,
            Self::Maildir(_) | Self::Remote(_) => SuccessAction::Delivered,
        }
    }

    /// Name of the destination that accepted mail: for mail exchanges, the exchange named `host`.
    pub(super) fn accepted_by(&self, host: Option<&str>) -> String {
        match (self, host) {
            (Self::Remote(Remote::Exchanges(_)), Some(host)) => {
                format!("{}:{host}:{}", Protocol::Smtp, mail_exchanges::PORT)
            }
            _ => self.to_string(),
        }
    }
}

/// Returns the route of the domain or of the nearest parent domain.
pub(super) fn route_of<'a>(domain: &str, delivery: &'a DeliveryConfig) -> Option<&'a Route> {
    with_parents(domain).find_map(|name| delivery.routes.iter().find(|route| route.domain == name))
}

/// Iterates over the domain and the parent domains. An address literal has no parents.
fn with_parents(domain: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(domain), |name| {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        parent.filter(|_| !name.starts_with('['))
    })
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maildir(path) => write!(f, "maildir:{}", path.display()),
            Self::Remote(remote) => remote.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn destination_of(address: &str, delivery: &DeliveryConfig) -> Result<String, String> {
        let address = address.parse().expect("an address");
        Destination::for_remote_address(&address, delivery)
            .map(|to| to.to_string())
            .map_err(|failed| failed.reply.to_string())
    }

    fn next_hop(text: &str) -> NextHop {
        match text {
            "mx" => NextHop::Exchanges,
            server => NextHop::Server(server.parse().expect("an endpoint")),
        }
    }

    #[test]
    fn prefers_the_nearest_route_to_the_smart_host() {
        let route = |domain: &str, to: &str, lmtp| Route {
            domain: domain.to_owned(),
            to: next_hop(to),
            lmtp,
            tls: None,
            etrn: false,
        };
        let mut delivery = testing::delivery();
        delivery.routes = vec![
            route("example.org", "a:25", false),
            route("in.example.org", "b:24", true),
            route("mx.example.org", "mx", false),
        ];
        delivery.smart_host = Some(next_hop("smart:25"));
        for (address, expected) in [
            ("x@example.org", "smtp:a:25"),
            ("x@EXAMPLE.ORG", "smtp:a:25"),
            ("x@other.example.org", "smtp:a:25"),
            ("x@in.example.org", "lmtp:b:24"),
            ("x@deep.in.example.org", "lmtp:b:24"),
            ("x@MX.example.org", "mx:mx.example.org"),
            ("x@deep.mx.example.org", "mx:deep.mx.example.org"),
            ("x@notexample.org", "smtp:smart:25"),
            ("x@[192.0.2.1]", "smtp:smart:25"),
        ] {
            assert_eq!(destination_of(address, &delivery).as_deref(), Ok(expected), "{address}");
        }
    }

    #[test]
    fn fails_without_route_and_smart_host() {
        let delivery = testing::delivery();
        let none = destination_of("x@example.org", &delivery);
        assert_eq!(none, Err("550 5.4.4 No route to example.org".to_owned()));
        let by_exchanges = DeliveryConfig {
            smart_host: Some(NextHop::Exchanges),
            ..testing::delivery()
        };
        for delivery in [delivery, by_exchanges] {
            assert!(destination_of("x@[192.0.2.1]", &delivery).is_err_and(|reply| reply.starts_with("550 5.1.2")));
        }
    }

    #[test]
    fn names_the_exchange_that_accepted_the_mail() {
        let exchanges = Destination::Remote(Remote::Exchanges("example.org".to_owned()));
        assert_eq!(exchanges.accepted_by(Some("a.example.org")), "smtp:a.example.org:25");
        assert_eq!(exchanges.accepted_by(None), "mx:example.org");
        let server = Destination::remote(Protocol::Smtp, "smart:587".parse().expect("an endpoint"));
        assert_eq!(server.accepted_by(Some("smart")), "smtp:smart:587");
    }
}
