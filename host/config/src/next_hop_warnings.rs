//! Warnings about servers that mail is sent to: ports of other protocols, and this host itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt as _;

use super::defaults::system_hostname;
use super::{Config, DeliveryConfig, HopKey, NextHop, Problem};
use host_mail::Endpoint;

/// Protocol that a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HopProtocol {
    /// SMTP.
    Smtp,
    /// LMTP (RFC 2033).
    Lmtp,
}

/// Names of this host in every `/etc/hosts`.
const LOCAL_NAMES: [&str; 4] = ["localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"];

/// Returns the warnings about the smart host, routes and settings of next hops.
pub(super) fn next_hop_warnings(config: &Config) -> Vec<Problem> {
    let mut warnings: Vec<Problem> = servers(config)
        .into_iter()
        .filter_map(|(key, server, protocol)| Some(Problem::new(key, hop_warning(config, server, protocol)?)))
        .collect();
    let resolvers = &config.dns.servers;
    let is_local = |server: &SocketAddr| server.ip().to_canonical().is_loopback();
    if config.delivery.asks_dane() && !resolvers.is_empty() && !resolvers.iter().any(is_local) {
        let text = "none is at a loopback address, which DANE needs: run a validating resolver here, such as unbound";
        warnings.push(Problem::new("dns.servers", text));
    }
    for (index, hop) in config.delivery.hops.iter().enumerate() {
        for address in hop.source_addresses.iter().filter(|address| !is_own_address(**address)) {
            let text = format!("{address} is no address of this machine now: connections from it fail");
            warnings.push(Problem::new(
                format!("delivery.next-hop[{index}].source-addresses"),
                text,
            ));
        }
    }
    warnings
}

/// Returns the servers that the configuration names, each with its key.
pub fn servers(config: &Config) -> Vec<(String, &Endpoint, HopProtocol)> {
    let delivery = &config.delivery;
    let mut servers = listed(
        delivery,
        "delivery.smart-host".to_owned(),
        &delivery.smart_host,
        HopProtocol::Smtp,
    );
    for (index, route) in delivery.routes.iter().enumerate() {
        let protocol = if route.lmtp {
            HopProtocol::Lmtp
        } else {
            HopProtocol::Smtp
        };
        servers.extend(listed(
            delivery,
            format!("delivery.route[{index}].to"),
            &route.to,
            protocol,
        ));
    }
    servers
}

/// Returns the servers among the next hops that `key` lists.
fn listed<'a>(
    delivery: &'a DeliveryConfig,
    key: String,
    hops: &'a [NextHop],
    protocol: HopProtocol,
) -> Vec<(String, &'a Endpoint, HopProtocol)> {
    let mut servers = Vec::new();
    for (index, hop) in hops.iter().enumerate() {
        let server = match hop {
            NextHop::Server(server) => Some(server),
            NextHop::Exchanges => None,
            NextHop::Named(_) => delivery.settings_of(hop.borrowed()).and_then(|own| match &own.key {
                HopKey::Server(server) => Some(server),
                HopKey::Domain(_) | HopKey::Exchanges => None,
            }),
        };
        let key = match hops.len() {
            1 => key.clone(),
            _ => format!("{key}[{index}]"),
        };
        servers.extend(server.map(|server| (key, server, protocol)));
    }
    servers
}

/// Returns the reason why mail can never be sent to a server, with what to write instead; `None` if there is none.
/// Asks no resolver.
pub fn hop_warning(config: &Config, server: &Endpoint, protocol: HopProtocol) -> Option<String> {
    let (host, port) = match server {
        Endpoint::Tcp(host, port) => (host, *port),
        Endpoint::Unix(path) => {
            let is_socket = std::fs::metadata(path).ok()?.file_type().is_socket();
            return (!is_socket).then(|| format!("{} is no socket", path.display()));
        }
    };
    if is_this_host(config, host, port) {
        return Some(format!(
            "{server} is this host itself, and mail would go round in circles: write another server"
        ));
    }
    if is_no_address_of_a_server(host) {
        return Some(format!(
            "{server} is the address of no server: write the server's name or its own address"
        ));
    }
    port_warning(port, protocol).map(|text| format!("{server}: {text}"))
}

/// True for the unspecified address, broadcast and multicast.
fn is_no_address_of_a_server(host: &str) -> bool {
    let address = host.parse::<IpAddr>().map(|address| address.to_canonical());
    address.is_ok_and(|address| {
        address.is_unspecified() || address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST)
    })
}

fn port_warning(port: u16, protocol: HopProtocol) -> Option<String> {
    let other = match port {
        465 if protocol == HopProtocol::Lmtp => "submission",
        22 => "SSH",
        53 => "DNS",
        80 | 8080 => "HTTP",
        443 => "HTTPS",
        110 | 995 => "POP3",
        143 | 993 => "IMAP",
        4190 => "ManageSieve",
        25 | 587 if protocol == HopProtocol::Lmtp => "SMTP (RFC 2033 section 5 forbids LMTP there)",
        24 if protocol == HopProtocol::Smtp => "LMTP",
        _ => return None,
    };
    let instead = match protocol {
        HopProtocol::Smtp => "write the port of an SMTP server: 25, or 587 for submission",
        HopProtocol::Lmtp => "write the port of the LMTP server, such as 24",
    };
    Some(format!("port {port} is for {other}: {instead}"))
}

/// True if a connection to `host` and `port` ends at a listener of this host, as far as its own names and addresses
/// tell. Asks no resolver.
pub fn is_this_host(config: &Config, host: &str, port: u16) -> bool {
    let listeners = || {
        config
            .listeners
            .iter()
            .map(|listener| listener.address)
            .filter(|address| address.port() == port)
    };
    if let Ok(address) = host.parse::<IpAddr>() {
        let address = match address.to_canonical() {
            // A connection to the unspecified address goes to loopback (Linux).
            IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            other => other,
        };
        return listeners().any(|listener| listens_at(listener, address));
    }
    let name = host.trim_end_matches('.').to_lowercase();
    if LOCAL_NAMES.contains(&&*name) {
        let loopback = |listener| {
            listens_at(listener, Ipv4Addr::LOCALHOST.into()) || listens_at(listener, Ipv6Addr::LOCALHOST.into())
        };
        return listeners().any(loopback);
    }
    (name == config.hostname || name == system_hostname()) && listeners().next().is_some()
}

fn listens_at(listener: SocketAddr, address: IpAddr) -> bool {
    let own = listener.ip().to_canonical();
    if own == address {
        return true;
    }
    let same_family = own.is_ipv4() == address.is_ipv4() || own.is_ipv6();
    own.is_unspecified() && same_family && is_own_address(address)
}

fn is_own_address(address: IpAddr) -> bool {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    address.is_loopback() || interfaces.iter().any(|interface| interface.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(listener: &str) -> Config {
        let text = format!(
            "administrator = 'a@b.example'\nhostname = 'mx.example.org'\n[[listener]]\nname = 'a'\naddress = '{listener}'"
        );
        Config::parse(&text, Path::new("/")).expect("right")
    }

    #[test]
    fn finds_this_host_by_name_and_address() {
        for (listener, host, port, own) in [
            ("127.0.0.1:25", "localhost", 25, true),
            ("127.0.0.1:25", "LOCALHOST.", 25, true),
            ("127.0.0.1:25", "localhost", 26, false),
            ("127.0.0.1:25", "127.0.0.1", 25, true),
            ("127.0.0.1:25", "127.0.0.2", 25, false),
            ("0.0.0.0:25", "127.0.0.2", 25, true),
            ("0.0.0.0:25", "0.0.0.0", 25, true),
            ("[::]:25", "127.0.0.1", 25, true),
            ("[::]:25", "::1", 25, true),
            ("0.0.0.0:25", "::1", 25, false),
            ("192.0.2.1:25", "mx.example.org", 25, true),
            ("192.0.2.1:25", "MX.example.org", 2525, false),
            ("0.0.0.0:25", "192.0.2.77", 25, false),
            ("0.0.0.0:25", "relay.example.net", 25, false),
        ] {
            assert_eq!(
                is_this_host(&config(listener), host, port),
                own,
                "{host}:{port} of {listener}"
            );
        }
    }

    #[test]
    fn finds_ports_of_other_protocols() {
        let config = config("127.0.0.1:25");
        for (server, protocol, part) in [
            ("relay.example.net:465", HopProtocol::Smtp, None),
            ("relay.example.net:465", HopProtocol::Lmtp, Some("submission")),
            ("relay.example.net:80", HopProtocol::Smtp, Some("HTTP")),
            ("relay.example.net:24", HopProtocol::Smtp, Some("LMTP")),
            ("box.example.net:25", HopProtocol::Lmtp, Some("RFC 2033")),
            ("box.example.net:24", HopProtocol::Lmtp, None),
            ("relay.example.net:587", HopProtocol::Smtp, None),
            ("relay.example.net:2525", HopProtocol::Smtp, None),
        ] {
            let found = hop_warning(&config, &server.parse().expect("an endpoint"), protocol);
            assert_eq!(found.is_some(), part.is_some(), "{server}: {found:?}");
            assert!(
                part.is_none_or(|part| found.is_some_and(|text| text.contains(part))),
                "{server}"
            );
        }
    }
}
