//! What is known of a peer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An account that proved who it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The account's name in the directory, in lower case.
    pub account: String,
    /// The SASL mechanism, such as `PLAIN`.
    pub mechanism: String,
}

/// The TLS session a connection runs in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TlsSession {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: String,
    /// IANA's name of the cipher suite.
    pub cipher: String,
    /// Subject of a verified client certificate.
    pub subject: Option<String>,
}

/// Facts about the peer of one connection; `helo` is the one claim among them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Client {
    /// Name of the listener that took the connection.
    pub listener: String,
    /// Canonical: IPv4-mapped addresses are IPv4 here.
    pub address: IpAddr,
    /// The peer's port.
    pub port: u16,
    /// Forward-confirmed name of the address.
    pub name: Option<String>,
    /// Argument of HELO or EHLO.
    pub helo: Option<String>,
    /// None while the connection is in the clear.
    pub tls: Option<TlsSession>,
    /// None before AUTH, and for clients that need not authenticate.
    pub identity: Option<Identity>,
    /// What admission granted.
    pub exemptions: Arc<[String]>,
}

impl Client {
    /// One that has just connected, and said nothing.
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
