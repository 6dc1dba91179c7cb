//! Who takes a domain's mail: its exchanges, the most preferred first (RFC 5321 section 5.1).

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use hickory_resolver::proto::rr::Name;

use crate::config::{Dns, Listener};
use crate::dns::{self, NoRecords};
use crate::mail::Reply;

use super::outcome::{Outcome, class};

/// Where exchanges listen.
pub(super) const PORT: u16 = 25;
/// Exchanges of one domain that are tried.
const MAX_EXCHANGES: usize = 5;
/// Addresses of one exchange that are tried.
const MAX_ADDRESSES: usize = 4;

/// Looks exchanges up, and knows which of them is this host.
#[derive(Clone, Copy)]
pub(super) struct Exchanges<'a> {
    pub(super) resolver: &'a dns::Current,
    pub(super) dns: &'a Dns,
    /// This host's name.
    pub(super) hostname: &'a str,
    /// Where this host listens.
    pub(super) listeners: &'a [Listener],
}

impl Exchanges<'_> {
    /// Names of the hosts that take a domain's mail. A domain without exchanges is its own. Those that are this host,
    /// or less preferred, are left out: mail that came here by them must not go back.
    pub(super) async fn of(&self, domain: &str) -> Result<Vec<String>, Outcome> {
        let name = ascii(domain).ok_or_else(|| no_host(&format!("{domain:?} is not a domain name")))?;
        let resolver = self.resolver.configured(self.dns);
        let mut found = resolver.exchanges(&name).await.map_err(|why| no_answer(domain, why))?;
        if let [(_, root)] = found.as_slice()
            && root == "."
        {
            let reply = Reply::new(556, (5, 1, 10), format!("{domain} takes no mail"));
            return Err(Outcome::failed_here(class::HOST_NOT_FOUND, reply));
        }
        if found.is_empty() {
            found.push((0, name));
        }
        found.retain(|(_, name)| name != ".");
        let is_own = |name: &str| name.eq_ignore_ascii_case(self.hostname);
        if let Some(own) = found.iter().find(|(_, name)| is_own(name)).map(|(own, _)| *own) {
            found.retain(|(preference, _)| *preference < own);
            if found.is_empty() {
                return Err(own_mail(domain));
            }
        }
        // Those of one preference share the load.
        found.sort_by_cached_key(|(preference, _)| (*preference, rand::random::<u32>()));
        Ok(found.into_iter().take(MAX_EXCHANGES).map(|(_, name)| name).collect())
    }

    /// Where an exchange listens; none if it is this host, whatever it is called.
    pub(super) async fn addresses(&self, exchange: &str) -> Result<Option<Vec<SocketAddr>>, Outcome> {
        let resolver = self.resolver.configured(self.dns);
        let mut found = resolver
            .addresses(exchange)
            .await
            .map_err(|why| no_answer(exchange, why))?;
        found.retain(is_host);
        if found.iter().any(|address| self.is_own(*address)) {
            return Ok(None);
        }
        if found.is_empty() {
            return Err(no_host(&format!("{exchange} has no address")));
        }
        let found = found.into_iter().take(MAX_ADDRESSES);
        Ok(Some(found.map(|address| SocketAddr::new(address, PORT)).collect()))
    }

    fn is_own(&self, address: IpAddr) -> bool {
        let listeners = self.listeners.iter().map(|listener| listener.address);
        let mut here = listeners
            .filter(|here| here.port() == PORT)
            .map(|here| here.ip().to_canonical());
        here.any(|here| here == address || (here.is_unspecified() && is_of_this_machine(address)))
    }
}

/// Whether mail can be sent there at all: a connection to the unspecified address ends at this machine.
fn is_host(address: &IpAddr) -> bool {
    let address = address.to_canonical();
    !address.is_unspecified() && !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Only such an address can be bound.
fn is_of_this_machine(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// In the form that the DNS knows (RFC 5891), without a final dot.
fn ascii(domain: &str) -> Option<String> {
    let name = Name::from_utf8(domain).ok()?.to_lowercase().to_ascii();
    Some(name.strip_suffix('.').unwrap_or(&name).to_owned())
}

fn no_answer(name: &str, why: NoRecords) -> Outcome {
    match why {
        NoRecords::Unavailable(why) => {
            Outcome::Deferred(Reply::new(451, (4, 4, 3), format!("looking {name} up: {why}")))
        }
        NoRecords::BadName(_) => no_host(&why.to_string()),
    }
}

fn no_host(why: &str) -> Outcome {
    Outcome::failed_here(class::HOST_NOT_FOUND, Reply::new(550, (5, 4, 4), why))
}

/// This host is the best of a domain's exchanges, and does not know the domain.
pub(super) fn own_mail(domain: &str) -> Outcome {
    let text = format!("Mail for {domain} comes back to this host, which has no such domain");
    Outcome::failed_here(class::LOOP, Reply::new(554, (5, 4, 6), text))
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::RData;
    use hickory_resolver::proto::rr::rdata::{A, MX};

    use super::*;
    use crate::config::{Config, ListenerTls};
    use crate::dns::testing::{Has, Server, name};

    fn exchanges(records: &[(u16, &str)]) -> Has {
        let record = |(preference, host): &(u16, &str)| RData::MX(MX::new(*preference, name(host)));
        Has::Records(records.iter().map(record).collect())
    }

    fn address(text: &str) -> Has {
        Has::Records(vec![RData::A(A(text.parse().expect("an address")))])
    }

    /// Names or addresses; else the reply.
    fn shown<T: ToString>(found: Result<Vec<T>, Outcome>) -> Vec<String> {
        match found {
            Ok(all) => all.iter().map(ToString::to_string).collect(),
            Err(Outcome::Failed(failed)) => vec![format!("{}: {}", failed.class, failed.reply)],
            Err(other) => vec![format!("{other:?}")],
        }
    }

    #[tokio::test]
    async fn the_preferred_come_first_and_no_mail_goes_back() {
        let server = Server::start([
            (
                "two.example",
                exchanges(&[(20, "b.two.example."), (10, "a.two.example.")]),
            ),
            ("bare.example", address("192.0.2.1")),
            ("none.example", exchanges(&[(0, ".")])),
            (
                "backup.example",
                exchanges(&[(5, "first."), (10, "MX.here.example."), (10, "same."), (20, "last.")]),
            ),
            ("ours.example", exchanges(&[(10, "mx.here.example."), (20, "last.")])),
            ("xn--bcher-kva.example", exchanges(&[(1, "mx.xn--bcher-kva.example.")])),
            ("broken.example", Has::Failure),
        ])
        .await;
        let (resolver, settings) = (dns::Current::new(Dns::default()), server.settings());
        let exchanges = Exchanges {
            resolver: &resolver,
            dns: &settings,
            hostname: "mx.here.example",
            listeners: &[],
        };
        for (domain, expected) in [
            ("two.example", &["a.two.example", "b.two.example"][..]),
            ("bare.example", &["bare.example"]),
            ("nothing.example", &["nothing.example"]),
            (
                "none.example",
                &["host-not-found: 556 5.1.10 none.example takes no mail"],
            ),
            ("backup.example", &["first"]),
            (
                "ours.example",
                &["loop: 554 5.4.6 Mail for ours.example comes back to this host, which has no such domain"],
            ),
            ("bücher.example", &["mx.xn--bcher-kva.example"]),
            (
                "a b.example",
                &["host-not-found: 550 5.4.4 \"a b.example\" is not a domain name"],
            ),
        ] {
            assert_eq!(shown(exchanges.of(domain).await), expected, "{domain}");
        }
        let failed = exchanges.of("broken.example").await;
        assert!(matches!(failed, Err(Outcome::Deferred(reply)) if reply.to_string().starts_with("451 4.4.3")));
    }

    #[tokio::test]
    async fn those_of_one_preference_share_the_load() {
        let many = exchanges(&[
            (1, "a."),
            (1, "b."),
            (1, "c."),
            (1, "d."),
            (1, "e."),
            (1, "f."),
            (2, "g."),
        ]);
        let server = Server::start([("many.example", many)]).await;
        let (resolver, settings) = (dns::Current::new(Dns::default()), server.settings());
        let exchanges = Exchanges {
            resolver: &resolver,
            dns: &settings,
            hostname: "mx.here.example",
            listeners: &[],
        };
        let mut first = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let found = shown(exchanges.of("many.example").await);
            assert_eq!(found.len(), MAX_EXCHANGES);
            assert!(!found.contains(&"g".to_owned()), "{found:?}");
            first.insert(found[0].clone());
        }
        assert_eq!(first.len(), 6, "{first:?}");
    }

    #[tokio::test]
    async fn an_exchange_that_is_this_host_is_found_out_by_its_address() {
        let server = Server::start([
            ("far.example", address("192.0.2.1")),
            ("here.example", address("127.0.0.1")),
            ("odd.example", address("0.0.0.0")),
            ("broken.example", Has::Failure),
        ])
        .await;
        let (resolver, settings) = (dns::Current::new(Dns::default()), server.settings());
        let mut listener = Config::builtin().expect("valid").listeners.remove(0);
        listener.tls = ListenerTls::Off;
        let mut at = async |here: &str, exchange: &str| {
            listener.address = here.parse().expect("an address");
            let exchanges = Exchanges {
                resolver: &resolver,
                dns: &settings,
                hostname: "mx.here.example",
                listeners: std::slice::from_ref(&listener),
            };
            let found = exchanges.addresses(exchange).await;
            shown(found.map(|found| found.unwrap_or_default()))
        };
        let own: [&str; 0] = [];
        assert_eq!(at("[::]:25", "far.example").await, ["192.0.2.1:25"]);
        assert_eq!(at("[::]:25", "here.example").await, own);
        assert_eq!(at("127.0.0.1:25", "here.example").await, own);
        assert_eq!(at("127.0.0.2:25", "here.example").await, ["127.0.0.1:25"]);
        assert_eq!(at("127.0.0.1:2525", "here.example").await, ["127.0.0.1:25"]);
        let nowhere = "has no address";
        for exchange in ["odd.example", "nobody.example"] {
            let found = at("[::]:25", exchange).await;
            assert!(
                found[0].starts_with("host-not-found") && found[0].ends_with(nowhere),
                "{found:?}"
            );
        }
        assert!(at("[::]:25", "broken.example").await[0].contains("looking broken.example up"));
    }
}
