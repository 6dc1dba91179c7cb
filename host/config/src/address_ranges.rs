//! Ranges of addresses: internal ones, and networks too wide to be trusted.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks that the Internet does not route: loopback, private, link-local, shared, unique local.
const INTERNAL: [&str; 9] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];
/// Shortest prefix of a public IPv4 network that one site may own.
const MIN_PREFIX_V4: u8 = 16;
/// Shortest prefix of a public IPv6 network that one site may own.
const MIN_PREFIX_V6: u8 = 32;

/// True if the Internet does not route any address of the network.
pub(super) fn is_internal(network: &IpNet) -> bool {
    let internal = INTERNAL.iter().filter_map(|text| text.parse::<IpNet>().ok());
    internal.into_iter().any(|range| range.contains(network))
}

/// True if a listener at this address can be reached from the Internet: the address is public, or stands for all
/// addresses of the host.
pub(super) fn is_public(address: IpAddr) -> bool {
    !is_internal(&IpNet::from(address.to_canonical()))
}

/// True if the network covers more public addresses than one site owns.
pub(super) fn is_wide(network: &IpNet) -> bool {
    let least = match network {
        IpNet::V4(_) => MIN_PREFIX_V4,
        IpNet::V6(_) => MIN_PREFIX_V6,
    };
    network.prefix_len() < least && !is_internal(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_networks_that_no_site_owns() {
        for (network, wide) in [
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("128.0.0.0/1", true),
            ("2000::/3", true),
            ("192.0.0.0/8", true),
            ("10.0.0.0/7", true),
            ("10.0.0.0/8", false),
            ("172.16.0.0/12", false),
            ("192.0.2.0/24", false),
            ("192.0.0.0/16", false),
            ("fc00::/7", false),
            ("2001:db8::/32", false),
            ("2001:db8::/31", true),
        ] {
            assert_eq!(is_wide(&network.parse().expect("a network")), wide, "{network}");
        }
    }

    #[test]
    fn unspecified_addresses_are_public() {
        for (address, public) in [
            ("0.0.0.0", true),
            ("::", true),
            ("192.0.2.1", true),
            ("127.0.0.2", false),
            ("::1", false),
            ("::ffff:10.0.0.1", false),
            ("192.168.1.1", false),
        ] {
            assert_eq!(is_public(address.parse().expect("an address")), public, "{address}");
        }
    }
}
