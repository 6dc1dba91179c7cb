//! The peer of a connection: address, TLS session, identity.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An authenticated account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The account's name in the directory, in lower case.
    pub account: String,
    /// The SASL mechanism, such as `PLAIN`.
    pub mechanism: String,
}

/// Parameters of a connection's TLS session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TlsSession {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: String,
    /// Name of the cipher suite, as registered with IANA.
    pub cipher: String,
    /// Subject of the client certificate, if the client presented a verified certificate.
    pub subject: Option<String>,
}

/// The peer of a connection. All fields are facts that the host knows, except `helo`, which is the peer's claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Client {
    /// Name of the listener that accepted the connection.
    pub listener: String,
    /// Address of the peer. An IPv4-mapped IPv6 address is stored as IPv4.
    pub address: IpAddr,
    /// Port of the peer.
    pub port: u16,
    /// Forward-confirmed reverse DNS name of the address, if there is any.
    pub name: Option<String>,
    /// Argument of HELO or EHLO; `None` before the command.
    pub helo: Option<String>,
    /// TLS session; `None` while the connection is not encrypted.
    pub tls: Option<TlsSession>,
    /// Authenticated account; `None` before AUTH and for clients that do not authenticate.
    pub identity: Option<Identity>,
    /// Exemptions that admission granted, see `terms.exemptions` in `wit/policy.wit`.
    pub exemptions: Arc<[String]>,
}

impl Client {
    /// Creates a client that has just connected, without any of the optional facts.
    pub fn new(listener: &str, peer: SocketAddr) -> Self {
        Self {
            listener: listener.to_owned(),
            address: peer.ip().to_canonical(),
            port: peer.port(),
            name: None,
            helo: None,
            tls: None,
            identity: None,
            exemptions: Arc::default(),
        }
    }
}

/// Bits of an IPv6 address that name the network; the rest is the client's own to choose.
const IPV6_NETWORK: u32 = 64;

/// Returns the address under which a client is counted: an IPv4 address as it is, and the /64 network of an IPv6
/// address, within which a client may choose addresses freely.
pub fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> (128 - IPV6_NETWORK) << (128 - IPV6_NETWORK);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_ipv6_clients_by_their_network() {
        for (address, network) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            let [address, network] = [address, network].map(|text| text.parse::<IpAddr>().expect("an address"));
            assert_eq!(client_network(address), network);
        }
    }
}
