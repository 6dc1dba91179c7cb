//! IP networks, and tables with longest-prefix match.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::Deserialize;

/// An IP network, written as `192.0.2.0/24`, `2001:db8::/32`, or an address alone. Bits behind the prefix and
/// IPv4-mapped networks are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network(IpNet);

impl Network {
    /// True if the address lies in this network.
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    fn prefix_length(self) -> u8 {
        self.0.prefix_len()
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let net = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text
                .parse::<IpNet>()
                .map_err(|_| format!("{text:?} is no network: expected an address, or address/prefix-length"))?,
        };
        if net.addr() != net.network() {
            return Err(format!(
                "{text:?} has bits set behind its prefix: did you mean {}?",
                net.trunc()
            ));
        }
        if let IpAddr::V6(v6) = net.addr()
            && v6.to_ipv4_mapped().is_some()
        {
            return Err(format!("{text:?} is an IPv4-mapped network: write it as IPv4"));
        }
        Ok(Self(net))
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A table of values by network with longest-prefix match. The order of insertion has no influence.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkTable<T>(Vec<(Network, T)>);

impl<T> Default for NetworkTable<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> NetworkTable<T> {
    /// Adds an entry. Returns false, and changes nothing, if the table has an entry for this network already.
    pub fn insert(&mut self, network: Network, value: T) -> bool {
        let new = self.0.iter().all(|(known, _)| *known != network);
        if new {
            self.0.push((network, value));
        }
        new
    }

    /// Returns the entry with the longest prefix that contains the address.
    pub fn find(&self, address: IpAddr) -> Option<(Network, &T)> {
        self.0
            .iter()
            .filter(|(network, _)| network.contains(address))
            .max_by_key(|(network, _)| network.prefix_length())
            .map(|(network, value)| (*network, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(networks: &[&str]) -> NetworkTable<String> {
        let mut table = NetworkTable::default();
        for network in networks {
            assert!(
                table.insert(network.parse().unwrap(), (*network).to_owned()),
                "{network} twice"
            );
        }
        table
    }

    fn narrowest<'a>(table: &'a NetworkTable<String>, address: &str) -> Option<&'a str> {
        table.find(address.parse().unwrap()).map(|(_, value)| value.as_str())
    }

    #[test]
    fn longest_prefix_wins_in_every_order() {
        let mut networks = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.0/24",
            "10.1.2.3/32",
            "::/0",
            "2001:db8::/32",
            "2001:db8::1",
        ];
        let expected = [
            ("192.0.2.1", "0.0.0.0/0"),
            ("10.9.9.9", "10.0.0.0/8"),
            ("10.1.9.9", "10.1.0.0/16"),
            ("10.1.2.9", "10.1.2.0/24"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("2001:db9::1", "::/0"),
            ("2001:db8::2", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1"),
        ];
        for _ in 0..networks.len() {
            networks.rotate_left(1);
            for (address, network) in expected {
                assert_eq!(
                    narrowest(&table(&networks), address),
                    Some(network),
                    "{address} in {networks:?}"
                );
            }
            let mut backwards = networks;
            backwards.reverse();
            for (address, network) in expected {
                assert_eq!(
                    narrowest(&table(&backwards), address),
                    Some(network),
                    "{address} in {backwards:?}"
                );
            }
        }
    }

    /// Compares each prefix length with the definition of longest-prefix match.
    #[test]
    fn matches_every_prefix_length_of_both_families() {
        let v4: u32 = 0xc0a8_5a3c;
        let v6: u128 = 0x2001_0db8_a5a5_5a5a_1234_5678_9abc_def0;
        let mut v4_table = NetworkTable::default();
        let mut v6_table = NetworkTable::default();
        for length in 0..=32_u8 {
            let net = IpNet::new(IpAddr::from(v4.to_be_bytes()), length).unwrap().trunc();
            assert!(v4_table.insert(Network(net), length));
        }
        for length in 0..=128_u8 {
            let net = IpNet::new(IpAddr::from(v6.to_be_bytes()), length).unwrap().trunc();
            assert!(v6_table.insert(Network(net), length));
        }
        for bit in 0..32_u8 {
            let flipped = v4 ^ (1 << (31 - bit));
            let found = v4_table
                .find(IpAddr::from(flipped.to_be_bytes()))
                .map(|(_, length)| *length);
            assert_eq!(found, Some(bit), "first difference at bit {bit}");
        }
        for bit in 0..128_u8 {
            let flipped = v6 ^ (1 << (127 - bit));
            let found = v6_table
                .find(IpAddr::from(flipped.to_be_bytes()))
                .map(|(_, length)| *length);
            assert_eq!(found, Some(bit), "first difference at bit {bit}");
        }
        assert_eq!(v4_table.find(IpAddr::from(v4.to_be_bytes())).map(|(_, l)| *l), Some(32));
        assert_eq!(
            v6_table.find(IpAddr::from(v6.to_be_bytes())).map(|(_, l)| *l),
            Some(128)
        );
    }

    #[test]
    fn ipv4_and_ipv6_entries_do_not_match_each_other() {
        assert_eq!(narrowest(&table(&["0.0.0.0/0"]), "::1"), None);
        assert_eq!(narrowest(&table(&["::/0"]), "127.0.0.1"), None);
    }

    #[test]
    fn parse_error_explains_the_mistake() {
        for (text, part) in [
            ("", "is no network"),
            ("10.0.0.0/33", "is no network"),
            ("localhost", "is no network"),
            ("10.0.0.1/8", "did you mean 10.0.0.0/8?"),
            ("::ffff:10.0.0.1", "write it as IPv4"),
        ] {
            let error = text.parse::<Network>().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn refuses_a_duplicate_network() {
        let mut table = table(&["10.0.0.1"]);
        assert!(!table.insert("10.0.0.1/32".parse().unwrap(), String::new()));
    }
}
