//! The client and the envelope of a transaction.

use std::net::IpAddr;

/// Identity of an authenticated client.
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

/// The SMTP client, as the host knows the peer. All fields are verified by the host, except `helo`, which is a claim of
/// the peer.
///
/// ```
/// use posthouse_policy::Client;
/// // For tests:
/// let client = Client::at("10.9.0.7").on("inside").authenticated("anna").exempt("homing");
/// assert_eq!(client.account(), Some("anna"));
/// assert!(client.is_exempt("homing") && client.ip().is_some());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Name of the listener that accepted the connection.
    pub listener: String,
    /// IPv4 or IPv6 address in canonical text form, never IPv4-mapped.
    pub address: String,
    /// TCP port of the peer.
    pub port: u16,
    /// Forward-confirmed name of the address, if the host looked it up.
    pub name: Option<String>,
    /// Argument of HELO or EHLO; `None` before the command.
    pub helo: Option<String>,
    /// TLS session; `None` while the connection is not encrypted.
    pub tls: Option<Tls>,
    /// Identity; `None` before AUTH, and for clients that need not authenticate.
    pub identity: Option<Identity>,
    /// Exemptions that admission granted.
    pub exemptions: Vec<String>,
}

impl Client {
    /// Makes a client that has just connected to the listener `smtp`.
    pub fn at(address: &str) -> Self {
        Self {
            listener: "smtp".to_owned(),
            address: address.to_owned(),
            port: 40_000,
            ..Self::default()
        }
    }

    /// Returns the client with another listener.
    #[must_use]
    pub fn on(self, listener: &str) -> Self {
        Self {
            listener: listener.to_owned(),
            ..self
        }
    }

    /// Returns the client with the identity of an account, as after AUTH PLAIN.
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

    /// Returns the client with a further exemption.
    #[must_use]
    pub fn exempt(mut self, exemption: &str) -> Self {
        self.exemptions.push(exemption.to_owned());
        self
    }

    /// Returns the parsed address. `None` is a violation of the contract by the host.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok()
    }

    /// Returns the account that authenticated.
    pub fn account(&self) -> Option<&str> {
        self.identity.as_ref().map(|identity| identity.account.as_str())
    }

    /// True if admission granted the exemption.
    pub fn is_exempt(&self, exemption: &str) -> bool {
        self.exemptions.iter().any(|granted| granted == exemption)
    }
}

/// The reverse-path of a message. The null reverse-path marks notifications (RFC 5321 section 4.5.5).
///
/// ```
/// use posthouse_policy::ReversePath;
/// assert_eq!(ReversePath::from("<>"), ReversePath::Null);
/// assert_eq!(ReversePath::from("anna@example.org").address(), Some("anna@example.org"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReversePath {
    /// The null reverse-path `<>` of notifications and other mail that must not be answered.
    Null,
    /// An address `local-part@domain` with the domain in lower case.
    Mailbox(String),
}

impl ReversePath {
    /// Returns the address; `None` for the null reverse-path.
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

/// The SMTP envelope of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Reverse-path, the argument of MAIL.
    pub sender: ReversePath,
    /// Accepted forward-paths in the order of the RCPT commands.
    pub recipients: Vec<String>,
}

/// Returns the text after the last `@` of an address; empty if there is no `@`.
pub fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}
