//! Lookup of a domain's mail exchanges, most preferred first (RFC 5321 section 5.1).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use futures_util::future::join_all;

use ipnet::IpNet;

use host_config::Listener;
use host_directory::dns::{self, NoRecords};
use host_directory::secure_dns::SecureResolver;
use host_mail::Reply;

use super::outcome::{RecipientOutcome, class};
use crate::dns_source::DnsSource;
use crate::inside_addresses::is_inside;

/// TCP port of mail exchanges.
pub(super) const PORT: u16 = 25;
/// Maximum number of exchanges of a domain that are looked up.
const MAX_EXCHANGES: usize = 8;
/// Maximum number of addresses of an exchange that are tried.
const MAX_ADDRESSES: usize = 4;

/// Looks up mail exchanges and recognises this host among the exchanges.
#[derive(Clone, Copy)]
pub(super) struct Exchanges<'a> {
    pub(super) resolver: &'a dns::Current,
    /// Resolver that tells which answers are secure, in place of `resolver`; `None` where that does not matter.
    pub(super) secure: Option<&'a SecureResolver>,
    /// Name of this host.
    pub(super) hostname: &'a str,
    /// Listeners of this host.
    pub(super) listeners: &'a [Listener],
    /// Returns the addresses of this machine: [`interfaces`] except in tests.
    pub(super) interfaces: fn() -> Vec<IpAddr>,
    /// Networks inside this site in which exchanges may stand.
    pub(super) private_networks: &'a [IpNet],
    /// TCP port of all exchanges: [`PORT`] except in tests.
    pub(super) port: u16,
}

/// A host that accepts a domain's mail.
#[derive(Debug)]
pub(super) struct MailExchange {
    pub(super) name: String,
    /// Addresses with port, at least one; an error is the outcome of a host without a usable address.
    pub(super) addresses: Result<Vec<SocketAddr>, RecipientOutcome>,
    /// Name that has the addresses, after all aliases, if the DNS has named exchange and addresses securely.
    pub(super) secure_name: Option<String>,
}

/// An exchange and the addresses of the exchange, from the DNS.
struct MxRecord {
    preference: u16,
    name: String,
    addresses: Result<Vec<IpAddr>, NoRecords>,
    secure_name: Option<String>,
}

impl Exchanges<'_> {
    /// Returns the hosts that accept a domain's mail, most preferred first, at least one. A domain without MX records
    /// is an exchange for itself.
    ///
    /// This host is recognised by name or by an address of a listener. This host and all exchanges of the same or a
    /// lower preference are left out, so that mail that arrived here does not go back (RFC 5321 section 5.1).
    pub(super) async fn look_up(&self, domain: &str) -> Result<Vec<MailExchange>, RecipientOutcome> {
        let resolver = self.resolver.get();
        let source = match self.secure {
            Some(secure) => DnsSource::Secure(secure),
            None => DnsSource::Plain(&resolver),
        };
        let (names, is_secure) = self.exchange_names(domain, source).await?;
        let records = join_all(names.into_iter().map(async |(preference, name)| {
            let (addresses, secure_name) = match source.addresses(&name).await {
                Ok(found) => (Ok(found.addresses), found.secure_name),
                Err(why) => (Err(why), None),
            };
            MxRecord {
                preference,
                name,
                addresses,
                secure_name: secure_name.filter(|_| is_secure),
            }
        }))
        .await;
        let own = OwnAddresses::of(self.listeners, self.port, self.interfaces);
        let preference = |record: &MxRecord| record.preference;
        let records = preferred_to_own(records, preference, |record| own.contain_any(&record.addresses));
        let records = records.ok_or_else(|| mail_loop(domain))?;
        Ok(records.into_iter().map(|record| self.exchange(record, &own)).collect())
    }

    /// Returns preferences and names, at least one pair, and true if they are secure. Exchanges of equal preference come
    /// in random order. If this host is an exchange by name, only preferred exchanges remain.
    async fn exchange_names(
        &self,
        domain: &str,
        source: DnsSource<'_>,
    ) -> Result<(Vec<(u16, String)>, bool), RecipientOutcome> {
        let name = dns::ascii(domain).ok_or_else(|| no_host(&format!("{domain:?} is not a domain name")))?;
        let found = source.exchanges(&name).await;
        let (mut found, mut is_secure) = found.map_err(|why| no_answer(domain, why))?;
        if found.is_empty() {
            // The name of the exchange is the recipient's domain, which no answer can change.
            is_secure = true;
            found.push((0, name));
        }
        found.retain(|(_, name)| name != ".");
        if found.is_empty() {
            let reply = Reply::new(556, (5, 1, 10), format!("{domain} takes no mail"));
            return Err(RecipientOutcome::failed_here(class::HOST_NOT_FOUND, reply));
        }
        let is_own = |(_, name): &(u16, String)| name.eq_ignore_ascii_case(self.hostname);
        let found = preferred_to_own(found, |(preference, _)| *preference, is_own);
        let mut found = found.ok_or_else(|| mail_loop(domain))?;
        found.sort_by_cached_key(|(preference, _)| (*preference, rand::random::<u32>()));
        found.truncate(MAX_EXCHANGES);
        Ok((found, is_secure))
    }

    /// True if the operator allows exchanges at the address.
    fn is_listed(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.private_networks.iter().any(|network| network.contains(&address))
    }

    fn exchange(&self, record: MxRecord, own: &OwnAddresses) -> MailExchange {
        let found = record.addresses.map_err(|why| no_answer(&record.name, why));
        let addresses = found.and_then(|mut found| {
            found.retain(|address| is_routable(&address.to_canonical()));
            let known = found.len();
            found.retain(|address| own.is_foreign(*address) || self.is_listed(*address));
            if found.is_empty() && known > 0 {
                let text = format!("{} has no address outside this site", record.name);
                return Err(no_host(&text));
            }
            let usable: Vec<_> = interleave_families(found)
                .map(|address| SocketAddr::new(address, self.port))
                .collect();
            match usable.is_empty() {
                true => Err(no_host(&format!("{} has no address", record.name))),
                false => Ok(usable),
            }
        });
        MailExchange {
            name: record.name,
            addresses,
            secure_name: record.secure_name,
        }
    }
}

/// Keeps the items that are preferred to this host, or all items if this host is not among them. `None` if no item is
/// left.
fn preferred_to_own<T>(mut all: Vec<T>, preference: impl Fn(&T) -> u16, is_own: impl Fn(&T) -> bool) -> Option<Vec<T>> {
    let own = all.iter().filter(|each| is_own(each)).map(&preference).min();
    if let Some(own) = own {
        all.retain(|each| preference(each) < own);
    }
    (!all.is_empty()).then_some(all)
}

/// Addresses of this host.
struct OwnAddresses {
    /// Addresses at which this host accepts mail from other hosts.
    addresses: Vec<IpAddr>,
    /// Addresses of this machine.
    interfaces: Vec<IpAddr>,
    /// True if a listener is bound to the unspecified address.
    listens_on_all: bool,
}

impl OwnAddresses {
    fn of(listeners: &[Listener], port: u16, interfaces: impl FnOnce() -> Vec<IpAddr>) -> Self {
        let exchanges = listeners.iter().filter(|listener| listener.address.port() == port);
        let mut addresses: Vec<_> = exchanges.map(|listener| listener.address.ip().to_canonical()).collect();
        let listens_on_all = addresses.iter().any(IpAddr::is_unspecified);
        let interfaces: Vec<_> = interfaces().iter().map(IpAddr::to_canonical).collect();
        if listens_on_all {
            addresses.extend(&interfaces);
        }
        Self {
            addresses,
            interfaces,
            listens_on_all,
        }
    }

    /// True for an address of another host outside this site.
    fn is_foreign(&self, address: IpAddr) -> bool {
        !is_inside(address) && !self.interfaces.contains(&address.to_canonical())
    }

    fn contain_any(&self, addresses: &Result<Vec<IpAddr>, NoRecords>) -> bool {
        let mut hosts = addresses.iter().flatten().map(IpAddr::to_canonical).filter(is_routable);
        hosts.any(|address| self.addresses.contains(&address) || (self.listens_on_all && address.is_loopback()))
    }
}

/// Addresses of this machine. If the addresses cannot be read, the list is empty and the hop limit ends a mail loop.
pub(super) fn interfaces() -> Vec<IpAddr> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    all.iter().map(if_addrs::Interface::ip).collect()
}

/// Interleaves IPv4 and IPv6 addresses, so that a host with a single address family finds a usable address.
fn interleave_families(found: Vec<IpAddr>) -> impl Iterator<Item = IpAddr> {
    let hosts = found
        .into_iter()
        .map(|address| address.to_canonical())
        .filter(is_routable);
    let (four, six): (Vec<_>, Vec<_>) = hosts.partition(IpAddr::is_ipv4);
    let pairs = (0..MAX_ADDRESSES).flat_map(move |nth| [four.get(nth).copied(), six.get(nth).copied()]);
    pairs.flatten().take(MAX_ADDRESSES)
}

/// True if mail can be sent to the address. A connection to the unspecified address would end at this machine.
fn is_routable(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && *address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

fn no_answer(name: &str, why: NoRecords) -> RecipientOutcome {
    match why {
        NoRecords::Unavailable(why) => {
            RecipientOutcome::Deferred(Reply::new(451, (4, 4, 3), format!("looking {name} up: {why}")))
        }
        NoRecords::BadName(_) => no_host(&why.to_string()),
    }
}

fn no_host(why: &str) -> RecipientOutcome {
    RecipientOutcome::failed_here(class::HOST_NOT_FOUND, Reply::new(550, (5, 4, 4), why))
}

/// The outcome if this host is the most preferred exchange of a domain that is not local.
fn mail_loop(domain: &str) -> RecipientOutcome {
    let text = format!("Mail for {domain} comes back to this host, which has no such domain");
    RecipientOutcome::failed_here(class::LOOP, Reply::new(554, (5, 4, 6), text))
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::RData;
    use hickory_resolver::proto::rr::rdata::{A, AAAA, MX};

    use super::*;
    use host_config::Config;
    use host_testing::dns_server::{Has, Server, name};

    fn exchanges(records: &[(u16, &str)]) -> Has {
        let record = |(preference, host): &(u16, &str)| RData::MX(MX::new(*preference, name(host)));
        Has::Records(records.iter().map(record).collect())
    }

    fn addresses(addresses: &[&str]) -> Has {
        let record = |address: &&str| match address.parse().expect("an address") {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        Has::Records(addresses.iter().map(record).collect())
    }

    fn failure(outcome: &RecipientOutcome) -> String {
        match outcome {
            RecipientOutcome::Failed(failed) => format!("{}: {}", failed.class, failed.reply),
            RecipientOutcome::Deferred(reply) => format!("deferred: {reply}"),
            other => format!("{other:?}"),
        }
    }

    /// Returns names with addresses, without the port, or the failure.
    async fn found(server: &Server, listeners: &[Listener], domain: &str) -> Vec<String> {
        let resolver = dns::Current::new(server.settings());
        let exchanges = Exchanges {
            resolver: &resolver,
            secure: None,
            hostname: "mx.here.example",
            listeners,
            interfaces: Vec::new,
            private_networks: &["127.0.0.0/8".parse().expect("a network")],
            port: PORT,
        };
        let shown = |exchange: MailExchange| match exchange.addresses {
            Ok(all) => {
                let all: Vec<_> = all.iter().map(|address| address.ip().to_string()).collect();
                format!("{} {}", exchange.name, all.join(" "))
            }
            Err(outcome) => format!("{} {}", exchange.name, failure(&outcome)),
        };
        match exchanges.look_up(domain).await {
            Ok(all) => all.into_iter().map(shown).collect(),
            Err(outcome) => vec![failure(&outcome)],
        }
    }

    const OURS: &str = "loop: 554 5.4.6 Mail for ours.example comes back to this host, which has no such domain";

    #[tokio::test]
    async fn sorts_by_preference_and_sends_no_mail_back() {
        let server = Server::start([
            (
                "two.example",
                exchanges(&[(20, "b.two.example."), (10, "a.two.example."), (15, "no.example.")]),
            ),
            ("a.two.example", addresses(&["192.0.2.1"])),
            ("b.two.example", Has::Failure),
            (
                "bare.example",
                addresses(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "2001:db8::1"]),
            ),
            ("under_score.example", addresses(&["2001:db8::1", "::ffff:192.0.2.7"])),
            ("none.example", exchanges(&[(0, ".")])),
            ("never.example", exchanges(&[(0, "."), (10, ".")])),
            (
                "backup.example",
                exchanges(&[
                    (5, "bare.example."),
                    (10, "MX.here.example."),
                    (10, "same."),
                    (20, "last."),
                ]),
            ),
            (
                "ours.example",
                exchanges(&[(10, "mx.here.example."), (20, "bare.example.")]),
            ),
            ("xn--bcher-kva.example", exchanges(&[(1, "bare.example.")])),
            ("odd.example", addresses(&["0.0.0.0", "224.0.0.1", "255.255.255.255"])),
            ("broken.example", Has::Failure),
        ])
        .await;
        const BARE: &str = "bare.example 192.0.2.1 2001:db8::1 192.0.2.2 192.0.2.3";
        for (domain, expected) in [
            ("bare.example", &[BARE][..]),
            ("under_score.example", &["under_score.example 192.0.2.7 2001:db8::1"]),
            (
                "nothing.example",
                &["nothing.example host-not-found: 550 5.4.4 nothing.example has no address"],
            ),
            (
                "odd.example",
                &["odd.example host-not-found: 550 5.4.4 odd.example has no address"],
            ),
            (
                "none.example",
                &["host-not-found: 556 5.1.10 none.example takes no mail"],
            ),
            (
                "never.example",
                &["host-not-found: 556 5.1.10 never.example takes no mail"],
            ),
            ("backup.example", &[BARE]),
            ("ours.example", &[OURS]),
            ("bücher.example", &[BARE]),
            (
                "a b.example",
                &["host-not-found: 550 5.4.4 \"a b.example\" is not a domain name"],
            ),
        ] {
            assert_eq!(found(&server, &[], domain).await, expected, "{domain}");
        }
        let two = found(&server, &[], "two.example").await;
        assert_eq!(two[0], "a.two.example 192.0.2.1");
        assert!(two[1].starts_with("no.example host-not-found"), "{two:?}");
        assert!(
            two[2].starts_with("b.two.example deferred: 451 4.4.3 looking b.two.example up"),
            "{two:?}"
        );
        let broken = found(&server, &[], "broken.example").await;
        assert!(broken[0].starts_with("deferred: 451 4.4.3"), "{broken:?}");
    }

    #[tokio::test]
    async fn finds_this_host_by_name_among_many_exchanges() {
        let names: Vec<String> = (0..30).map(|n| format!("n{n}.example.")).collect();
        let mut many: Vec<(u16, &str)> = names.iter().map(|name| (10, name.as_str())).collect();
        many.push((10, "mx.here.example."));
        let server = Server::start([("ours.example", exchanges(&many))]).await;
        assert_eq!(found(&server, &[], "ours.example").await, [OURS]);
    }

    #[tokio::test]
    async fn spreads_the_load_over_equal_preferences() {
        let many = exchanges(&[(1, "a."), (1, "b."), (1, "c."), (2, "d.")]);
        let server = Server::start([("many.example", many)]).await;
        let mut first = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut found = found(&server, &[], "many.example").await;
            assert!(found[3].starts_with("d "), "{found:?}");
            first.insert(found.swap_remove(0));
        }
        assert_eq!(first.len(), 3, "{first:?}");
    }

    #[tokio::test]
    async fn finds_this_host_by_address() {
        let server = Server::start([
            ("far.example", addresses(&["192.0.2.1"])),
            ("here.example", addresses(&["::ffff:127.0.0.1"])),
            ("other.example", addresses(&["127.0.0.2"])),
            (
                "ours.example",
                exchanges(&[(10, "here.example."), (10, "far.example.")]),
            ),
            ("also.example", exchanges(&[(10, "here.example."), (5, "far.example.")])),
            ("local.example", exchanges(&[(10, "other.example.")])),
            ("nobody.example", addresses(&["0.0.0.0", "::"])),
            (
                "dummy.example",
                exchanges(&[(10, "nobody.example."), (20, "far.example.")]),
            ),
        ])
        .await;
        let mut listener = Config::builtin().expect("valid").listeners.remove(0);
        let mut at = async |here: &str, domain: &str| {
            listener.address = here.parse().expect("an address");
            found(&server, std::slice::from_ref(&listener), domain).await
        };
        for here in ["[::]:25", "0.0.0.0:25", "127.0.0.1:25", "[::ffff:127.0.0.1]:25"] {
            assert_eq!(at(here, "ours.example").await, [OURS], "{here}");
            assert_eq!(at(here, "also.example").await, ["far.example 192.0.2.1"], "{here}");
        }
        for here in ["127.0.0.2:25", "127.0.0.1:2525", "[::]:2525"] {
            assert_eq!(at(here, "ours.example").await.len(), 2, "{here}");
        }
        assert!(at("0.0.0.0:25", "local.example").await[0].starts_with("loop"));
        for here in ["0.0.0.0:25", "[::]:25"] {
            let dummy = at(here, "dummy.example").await;
            assert!(dummy[0].starts_with("nobody.example host-not-found"), "{dummy:?}");
            assert_eq!(dummy[1], "far.example 192.0.2.1", "{here}");
        }
        assert_eq!(at("127.0.0.1:25", "local.example").await, ["other.example 127.0.0.2"]);
    }

    #[test]
    fn unspecified_listener_stands_for_all_interfaces() {
        let mut listener = Config::builtin().expect("valid").listeners.remove(0);
        let mut is_at = |listens: &str, address: &str| {
            listener.address = listens.parse().expect("an address");
            let interfaces = || vec!["192.0.2.1".parse().expect("one"), "2001:db8::1".parse().expect("one")];
            let own = OwnAddresses::of(std::slice::from_ref(&listener), PORT, interfaces);
            own.contain_any(&Ok(vec![address.parse().expect("an address")]))
        };
        for address in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "127.0.0.9", "::1"] {
            assert!(is_at("[::]:25", address) && is_at("0.0.0.0:25", address), "{address}");
            assert!(
                !is_at("198.51.100.1:25", address) && !is_at("[::]:2525", address),
                "{address}"
            );
        }
        assert!(!is_at("[::]:25", "192.0.2.2") && !is_at("0.0.0.0:25", "0.0.0.0"));
        assert!(is_at("192.0.2.1:25", "::ffff:192.0.2.1"));
    }

    #[test]
    fn interfaces_include_loopback() {
        assert!(interfaces().iter().any(IpAddr::is_loopback));
    }
}
