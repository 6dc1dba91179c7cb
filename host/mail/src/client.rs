//! The peer of a connection: address, TLS session, identity.

use std::net::{IpAddr, SocketAddr};
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
