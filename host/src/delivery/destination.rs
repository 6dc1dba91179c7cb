//! Where a recipient's mail goes next.

use std::fmt;
use std::path::PathBuf;

use crate::config::Delivery;
use crate::directory::{Endpoint, Home};
use crate::mail::{Mailbox, Reply};
use crate::spool::Failed;

use super::outcome::{class, failed_here};

/// What is spoken to a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033: a reply for each recipient after the message.
    Lmtp,
}

/// A server and what is spoken there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Remote {
    pub(super) protocol: Protocol,
    pub(super) endpoint: Endpoint,
}

impl Remote {
    /// The server's name in reports (RFC 3464 `Remote-MTA`), without the port.
    pub(super) fn host(&self) -> String {
        match &self.endpoint {
            Endpoint::Tcp(host, _) => host.clone(),
            Endpoint::Unix(path) => path.display().to_string(),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::Smtp => "smtp",
            Protocol::Lmtp => "lmtp",
        };
        write!(f, "{scheme}:{}", self.endpoint)
    }
}

/// Where a recipient's mail goes next. Recipients with the same one share an attempt.
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
    fn remote(protocol: Protocol, endpoint: Endpoint) -> Self {
        Self::Remote(Remote { protocol, endpoint })
    }

    /// Where mail for an address goes that has no home here: the route of its domain or of the
    /// nearest parent domain, else the smart host.
    pub(super) fn of_foreign(address: &Mailbox, delivery: &Delivery) -> Result<Self, Failed> {
        let domain = address.domain();
        if let Some(route) = with_parents(domain).find_map(|name| delivery.routes.iter().find(|r| r.domain == name)) {
            let protocol = if route.lmtp { Protocol::Lmtp } else { Protocol::Smtp };
            return Ok(Self::remote(protocol, route.to.clone()));
        }
        if let Some(smart_host) = &delivery.smart_host {
            return Ok(Self::remote(Protocol::Smtp, smart_host.clone()));
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
}

/// The domain itself, then its parents; an address literal has none.
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
    use crate::config::Route;

    fn goes_to(address: &str, delivery: &Delivery) -> Result<String, String> {
        let address = address.parse().expect("an address");
        Destination::of_foreign(&address, delivery)
            .map(|to| to.to_string())
            .map_err(|failed| failed.reply.to_string())
    }

    #[test]
    fn the_nearest_route_wins_then_the_smart_host() {
        let route = |domain: &str, to: &str, lmtp| Route {
            domain: domain.to_owned(),
            to: to.parse().expect("an endpoint"),
            lmtp,
        };
        let mut delivery = testing::delivery();
        delivery.routes = vec![
            route("example.org", "a:25", false),
            route("in.example.org", "b:24", true),
        ];
        delivery.smart_host = Some("smart:25".parse().expect("an endpoint"));
        for (address, expected) in [
            ("x@example.org", "smtp:a:25"),
            ("x@EXAMPLE.ORG", "smtp:a:25"),
            ("x@other.example.org", "smtp:a:25"),
            ("x@in.example.org", "lmtp:b:24"),
            ("x@deep.in.example.org", "lmtp:b:24"),
            ("x@notexample.org", "smtp:smart:25"),
            ("x@[192.0.2.1]", "smtp:smart:25"),
        ] {
            assert_eq!(goes_to(address, &delivery).as_deref(), Ok(expected), "{address}");
        }
    }

    #[test]
    fn without_route_and_smart_host_there_is_no_way() {
        let delivery = testing::delivery();
        let none = goes_to("x@example.org", &delivery);
        assert_eq!(none, Err("550 5.4.4 No route to example.org".to_owned()));
        assert!(goes_to("x@[192.0.2.1]", &delivery).is_err_and(|reply| reply.starts_with("550 5.1.2")));
    }
}
