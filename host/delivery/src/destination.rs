//! Routing: the next hops of a recipient's mail.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use host_config::{DeliveryConfig, HopKey, NextHop, Route};
use host_directory::Home;
use host_mail::{Endpoint, Mailbox, Reply};
use host_spool::{Failed, SuccessAction};

use super::outcome::{class, failed_here};
use crate::mail_exchanges;
use crate::next_hop_order;
use crate::route_origin::RouteOrigin;

pub(super) use crate::remote::{Protocol, Remote};

/// Next hop of a recipient's mail. Recipients with the same destination share an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Destination {
    /// A Maildir on this host.
    Maildir(PathBuf),
    /// Another server.
    Remote(Remote),
    /// Several servers in the order in which they are tried, at least two.
    Alternatives(Vec<Remote>),
    /// The spool: mail that the route of this name holds.
    Held(String),
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
            Self::Maildir(_) | Self::Held(_) => false,
            Self::Remote(remote) => remote.is_smtp(),
            Self::Alternatives(remotes) => remotes.iter().all(Remote::is_smtp),
        }
    }

    fn remote(protocol: Protocol, endpoint: Endpoint) -> Self {
        Self::Remote(Remote::Server { protocol, endpoint })
    }

    /// Returns the destination of an address that is not local: the next hops of its route, else the smart host. An
    /// address without a route fails with `550`.
    pub(super) fn for_remote_address(
        address: &Mailbox,
        origin: RouteOrigin<'_>,
        delivery: &DeliveryConfig,
    ) -> Result<Self, Failed> {
        let domain = address.domain();
        let route = origin.route(domain, delivery);
        if let Some(route) = route
            && route.hold
            && !origin.is_forced
        {
            return Ok(Self::Held(held_name(route)));
        }
        let (protocol, next_hops) = match route {
            Some(route) if route.lmtp => (Protocol::Lmtp, &route.to),
            Some(route) if !route.to.is_empty() => (Protocol::Smtp, &route.to),
            Some(_) | None => (Protocol::Smtp, &delivery.smart_host),
        };
        let remotes = next_hops
            .iter()
            .filter_map(|hop| remote(hop, protocol, domain, delivery));
        let mut remotes: Vec<Remote> = remotes.collect();
        if remotes.len() > 1 {
            next_hop_order::sort_by_weight(&mut remotes, origin.message, delivery);
            return Ok(Self::Alternatives(remotes));
        }
        if let Some(only) = remotes.pop() {
            return Ok(Self::Remote(only));
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

    /// Returns the end of this host's part in a delivery to the destination. An LMTP server delivers (RFC 2033); another
    /// host passes on.
    pub(super) fn success(&self) -> SuccessAction {
        match self.is_smtp() {
            true => SuccessAction::Relayed,
            false => SuccessAction::Delivered,
        }
    }

    /// Names of the remotes that mail waits for while none of them is attempted.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Alternatives(remotes) => remotes.iter().map(Remote::to_string).collect(),
            other => vec![other.to_string()],
        }
    }

    /// Name of the destination that accepted mail: for mail exchanges, the exchange named `host`.
    pub(super) fn accepted_by(&self, host: Option<&str>) -> String {
        match (self, host) {
            (Self::Remote(remote), Some(host)) if matches!(remote.unnamed(), Remote::Exchanges(_)) => {
                format!("{}:{host}:{}", Protocol::Smtp, mail_exchanges::PORT)
            }
            _ => self.to_string(),
        }
    }
}

/// Returns the remote that a next hop leads to. `None` for the exchanges of an address literal, which is not looked up
/// in the DNS, and for a name without settings.
fn remote(hop: &NextHop, protocol: Protocol, domain: &str, delivery: &DeliveryConfig) -> Option<Remote> {
    let exchanges = || (!domain.starts_with('[')).then(|| Remote::Exchanges(domain.to_owned()));
    let server = |endpoint: &Endpoint| Remote::Server {
        protocol,
        endpoint: endpoint.clone(),
    };
    match hop {
        NextHop::Server(endpoint) => Some(server(endpoint)),
        NextHop::Exchanges => exchanges(),
        NextHop::Named(name) => {
            let remote = match &delivery.settings_of(hop.borrowed())?.key {
                HopKey::Server(endpoint) => server(endpoint),
                HopKey::Exchanges | HopKey::Domain(_) => exchanges()?,
            };
            Some(Remote::Named(Arc::clone(name), Box::new(remote)))
        }
    }
}

/// Name of a route that holds mail, by its conditions.
fn held_name(route: &Route) -> String {
    let conditions = [&route.domain, &route.sender_domain, &route.account, &route.listener];
    let shown: Vec<&str> = conditions.into_iter().flatten().map(String::as_str).collect();
    shown.join(" ")
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maildir(path) => write!(f, "maildir:{}", path.display()),
            Self::Remote(remote) => remote.fmt(f),
            Self::Alternatives(_) => f.write_str(&self.names().join(",")),
            Self::Held(route) => write!(f, "{HELD}{route}"),
        }
    }
}

/// Beginning of the name of a [`Destination::Held`].
pub(super) const HELD: &str = "hold:";

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn destination_of(address: &str, delivery: &DeliveryConfig) -> Result<String, String> {
        let address = address.parse().expect("an address");
        Destination::for_remote_address(&address, RouteOrigin::default(), delivery)
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
            domain: Some(domain.to_owned()),
            to: vec![next_hop(to)],
            lmtp,
            ..Route::default()
        };
        let mut delivery = testing::delivery();
        delivery.routes = vec![
            route("example.org", "a:25", false),
            route("in.example.org", "b:24", true),
            route("mx.example.org", "mx", false),
        ];
        delivery.smart_host = vec![next_hop("smart:25")];
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
            smart_host: vec![NextHop::Exchanges],
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
