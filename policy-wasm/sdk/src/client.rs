//! Who speaks, and the envelope.

use std::net::IpAddr;

/// An account that proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account's name in the directory, in lower case.
    pub account: String,
    /// The SASL mechanism, such as `PLAIN`.
    pub mechanism: String,
}

/// The TLS session of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: String,
    /// IANA's name of the cipher suite.
    pub cipher: String,
    /// Subject of a client certificate that the host verified.
    pub subject: Option<String>,
}

/// What the host knows of the peer. Facts; the one claim among them is `helo`.
///
/// ```
/// use posthouse_policy::Client;
/// // For tests: a client is what one says of it.
/// let client = Client::at("10.9.0.7").on("inside").authenticated("anna").exempt("homing");
/// assert_eq!(client.account(), Some("anna"));
/// assert!(client.is_exempt("homing") && client.ip().is_some());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Name of the listener that took the connection.
    pub listener: String,
    /// IPv4 or IPv6 address, canonical text form, never IPv4-mapped.
    pub address: String,
    /// The peer's.
    pub port: u16,
    /// Forward-confirmed name of the address, if the host looked it up.
    pub name: Option<String>,
    /// Argument of HELO or EHLO; none before it.
    pub helo: Option<String>,
    /// None while the connection is in the clear.
    pub tls: Option<Tls>,
    /// None before AUTH, and for clients that need not authenticate.
    pub identity: Option<Identity>,
    /// What admission granted.
    pub exemptions: Vec<String>,
}

impl Client {
    /// A client that did nothing but connect, to the listener `smtp`.
    pub fn at(address: &str) -> Self {
        Self {
            listener: "smtp".to_owned(),
            address: address.to_owned(),
            port: 40_000,
            ..Self::default()
        }
    }

    /// The same client on another listener.
    #[must_use]
    pub fn on(self, listener: &str) -> Self {
        Self {
            listener: listener.to_owned(),
            ..self
        }
    }

    /// The same client after AUTH.
    #[must_use]
    pub fn authenticated(self, account: &str) -> Self {
        let identity = Identity {
            account: account.to_owned(),
            mechanism: "PLAIN".to_owned(),
        };
        Self {
            identity: Some(identity),
            ..self
        }
    }

    /// The same client, exempt from something more.
    #[must_use]
    pub fn exempt(mut self, exemption: &str) -> Self {
        self.exemptions.push(exemption.to_owned());
        self
    }

    /// The address as a number; none only if the host broke its promise.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok()
    }

    /// The account that authenticated.
    pub fn account(&self) -> Option<&str> {
        self.identity.as_ref().map(|identity| identity.account.as_str())
    }

    /// Whether admission excused it from something.
    pub fn is_exempt(&self, exemption: &str) -> bool {
        self.exemptions.iter().any(|granted| granted == exemption)
    }
}

/// Where a message is from (RFC 5321 section 4.5.5: null is mail of its own kind).
///
/// ```
/// use posthouse_policy::ReversePath;
/// assert_eq!(ReversePath::from("<>"), ReversePath::Null);
/// assert_eq!(ReversePath::from("anna@example.org").address(), Some("anna@example.org"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReversePath {
    /// `<>`: notifications and other mail that must not be answered.
    Null,
    /// `local-part@domain`, the domain in lower case.
    Mailbox(String),
}

impl ReversePath {
    /// The address; none for the null reverse-path.
    pub fn address(&self) -> Option<&str> {
        match self {
            Self::Null => None,
            Self::Mailbox(address) => Some(address),
        }
    }
}

impl From<&str> for ReversePath {
    fn from(text: &str) -> Self {
        match text {
            "" | "<>" => Self::Null,
            address => Self::Mailbox(address.to_owned()),
        }
    }
}

/// Who a message is from and for, as the SMTP dialogue said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The argument of MAIL.
    pub sender: ReversePath,
    /// Accepted forward-paths in the order given.
    pub recipients: Vec<String>,
}

/// What follows the last `@` of an address; empty if nothing does.
pub fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}
