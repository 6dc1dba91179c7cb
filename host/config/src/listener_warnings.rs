//! Warnings about listeners, and about the name that they greet with.

use std::net::{IpAddr, SocketAddr};

use super::{Config, Listener, ListenerTls, Problem};
use crate::address_ranges::{is_public, is_wide};

/// Port of incoming mail.
const SMTP: u16 = 25;
/// Port of submission with implicit TLS (RFC 8314).
const SUBMISSIONS: u16 = 465;
/// Port of submission (RFC 6409).
const SUBMISSION: u16 = 587;

/// Returns the warnings about listeners and `hostname`.
pub(super) fn listener_warnings(config: &Config) -> Vec<Problem> {
    let mut warnings = Vec::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        let mut warn = |key: &str, text: String| warnings.push(Problem::new(format!("listener[{index}].{key}"), text));
        let address = listener.address;
        if listener.auth_without_tls && is_public(address.ip()) {
            let text =
                format!("passwords cross the network in the clear at {address}: remove it, or listen on loopback");
            warn("auth-without-tls", text);
        }
        for (entry, proxy) in listener.proxies.iter().enumerate() {
            if is_wide(proxy) {
                let text = format!("every client in {proxy} may claim any address: list the load balancers alone");
                warn(&format!("proxies[{entry}]"), text);
            }
        }
        for (entry, front) in listener.xclient.iter().enumerate() {
            if is_wide(front) {
                let text = format!("every client in {front} may claim any address and account: list the hosts alone");
                warn(&format!("xclient[{entry}]"), text);
            }
        }
        match (address.port(), listener.tls) {
            (SUBMISSIONS, ListenerTls::Off | ListenerTls::StartTls) => warn(
                "tls",
                "clients of port 465 begin with TLS (RFC 8314): write tls = \"implicit\"".to_owned(),
            ),
            (port @ (SMTP | SUBMISSION), ListenerTls::Implicit) => warn(
                "tls",
                format!("clients of port {port} do not begin with TLS: write tls = \"starttls\""),
            ),
            _ => {}
        }
        let others = config.listeners.iter().take(index);
        if let Some(other) = others.into_iter().find(|other| takes_ipv4_too(other, address)) {
            let text = format!(
                "{address} and {} can be one address only where IPv6 sockets take no IPv4: \
                 remove the one for 0.0.0.0, since [::] takes both",
                other.address
            );
            warn("address", text);
        }
    }
    warnings.extend(name_warning(config));
    if config.policies.is_empty() && config.listeners.iter().any(|listener| is_public(listener.address.ip())) {
        let text = "there is no policy, and every client may send to every destination: an open relay; remove the line \
                    for the built-in policy";
        warnings.push(Problem::new("policy", text));
    }
    warnings
}

/// True if one address stands for all IPv4 addresses and the other for all IPv6 addresses, at the same port.
fn takes_ipv4_too(listener: &Listener, address: SocketAddr) -> bool {
    let is_any = |ip: IpAddr| ip.is_unspecified();
    let other = listener.address;
    address.port() != 0
        && other.port() == address.port()
        && is_any(other.ip())
        && is_any(address.ip())
        && other.is_ipv4() != address.is_ipv4()
}

/// Returns a problem if two listeners of the same family cannot be bound together: one stands for all addresses, and
/// the other for one of them.
pub(super) fn overlap(first: SocketAddr, second: SocketAddr) -> bool {
    first.port() != 0
        && first.port() == second.port()
        && first.is_ipv4() == second.is_ipv4()
        && first.ip().is_unspecified() != second.ip().is_unspecified()
}

fn name_warning(config: &Config) -> Option<Problem> {
    let name = &config.hostname;
    let is_number = name
        .rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    if is_number {
        let text = format!("{name:?} is an address and no name: write the name that the DNS has for it");
        return Some(Problem::new("hostname", text));
    }
    let is_reachable = config.listeners.iter().any(|listener| is_public(listener.address.ip()));
    (is_reachable && !name.contains('.')).then(|| {
        let text = format!(
            "{name:?} is no full name, and other hosts refuse it in EHLO: write the name that the DNS has for this host"
        );
        Problem::new("hostname", text)
    })
}
