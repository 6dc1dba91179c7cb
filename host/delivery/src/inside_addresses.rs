//! Addresses inside this host or site, which a stranger's DNS must not make this host connect to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// True if the address is inside: loopback, private (RFC 1918), shared (RFC 6598), link-local, unique local (RFC 4193),
/// site-local, unspecified or reserved. An IPv4 address inside an IPv6 address counts as itself.
pub(super) fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_inside_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => is_inside_v4(inner),
            None => is_inside_v6(address),
        },
    }
}

fn is_inside_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || first == 0
        || (first == 100 && second & 0xc0 == 64)
        || (first == 192 && second == 0 && third == 0)
        || (first == 198 && second & 0xfe == 18)
        || first >= 224
}

fn is_inside_v6(address: Ipv6Addr) -> bool {
    let first = address.segments()[0];
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || first & 0xffc0 == 0xfec0
}

/// The IPv4 address that a mapped (RFC 4291), translated (RFC 6052), 6to4 (RFC 3056) or compatible address stands for.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let at = |from: usize| Ipv4Addr::new(octets[from], octets[from + 1], octets[from + 2], octets[from + 3]);
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(at(12)),
        [0x64, 0xff9b, 1, ..] => Some(at(12)),
        [0x2002, ..] => Some(at(2)),
        // Apart from :: and ::1.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(at(12)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_addresses_inside() {
        for address in [
            "127.0.0.1",
            "127.25.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "192.0.0.1",
            "198.18.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "febf::1",
            "fc00::1",
            "fdff::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "::10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "2002:7f00:1::1",
            "2002:c0a8:1::",
        ] {
            assert!(is_inside(address.parse().expect("an address")), "{address}");
        }
        for address in [
            "192.0.2.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "169.253.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "2001:db8::1",
            "2606:4700::1",
            "::ffff:192.0.2.1",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(!is_inside(address.parse().expect("an address")), "{address}");
        }
    }
}
