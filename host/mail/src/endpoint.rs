//! The address of a server, in the notation of the configuration.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::domain::canonical_domain;

/// The address of a server: TCP or a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// Host name or address, and port.
    Tcp(String, u16),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// The host name or address without the port, or the path of the socket.
    pub fn host(&self) -> String {
        match self {
            Self::Tcp(host, _) => host.clone(),
            Self::Unix(path) => path.display().to_string(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Parses `host:port`, `[v6]:port` or an absolute path of a Unix socket. Port 0 is an error, and so is a host that is
/// neither a name nor an address. The error says what to write instead. A name beyond ASCII becomes A-labels
/// ([`canonical_domain`]).
impl std::str::FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(better) = without_scheme(text) {
            return Err(format!(
                "{text:?} has a scheme, which has no place here: write {better:?}"
            ));
        }
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        let error = || format!("{text:?} is not host:port, [v6]:port or a socket's absolute path");
        let is_v6 = |text: &str| text.parse::<Ipv6Addr>().is_ok();
        let (host, port) = match text.rsplit_once(':') {
            Some(split) => split,
            None if is_host(text) => return Err(format!("{}: write the port, such as \"{text}:25\"", error())),
            None => return Err(error()),
        };
        let port = match port.parse::<u16>() {
            Ok(0) => return Err(format!("{}: there is no port 0", error())),
            Ok(port) => port,
            Err(_) => return Err(error()),
        };
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if bare.contains(':') && !is_v6(bare) {
            let advice = if is_v6(text) {
                format!(": write \"[{text}]:{port}\", or another port")
            } else {
                String::new()
            };
            return Err(format!("{}{advice}", error()));
        }
        if !is_v6(bare) && !is_host(bare) {
            return Err(format!("{}: {bare:?} is neither a name nor an address", error()));
        }
        // TLS and logins know hosts in ASCII. A name in ASCII stays as written: its final dot is for the resolver.
        let host = match bare.is_ascii() {
            true => Cow::Borrowed(bare),
            false => canonical_domain(bare)
                .ok_or_else(|| format!("{}: {bare:?} is neither a name nor an address", error()))?,
        };
        Ok(Self::Tcp(host.into_owned(), port))
    }
}

/// Returns the text without a scheme such as `smtps://`, and without the path of a URL; `None` without a scheme.
fn without_scheme(text: &str) -> Option<String> {
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.starts_with("//")) {
        return Some(path.to_owned());
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        // The rest of `lmtp://host:24`, which is written as `lmtp:host:24`.
        None => ("", text.strip_prefix("//")?),
    };
    if scheme.eq_ignore_ascii_case("unix") {
        return Some(rest.to_owned());
    }
    let server = rest.split('/').next().unwrap_or_default();
    let server = server.rsplit_once('@').map_or(server, |(_, server)| server);
    match server.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => Some(server.to_owned()),
        _ if ["smtps", "submissions"].contains(&&*scheme.to_ascii_lowercase()) => Some(format!("{server}:465")),
        _ => Some(format!("{server}:25")),
    }
}

/// True if the text may be the name of a host or an IPv4 address. Underscores are permitted, since names of containers
/// have them; a last label of digits alone is not, except in an IPv4 address (RFC 3696 section 2).
fn is_host(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or_default();
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) && name.contains('.') {
        return name.parse::<Ipv4Addr>().is_ok();
    }
    let is_letter = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_') || !c.is_ascii() && !c.is_whitespace();
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(is_letter);
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_names_addresses_and_sockets() {
        for (text, shown) in [
            ("relay.example.net:25", "relay.example.net:25"),
            ("relay.example.net.:25", "relay.example.net.:25"),
            ("mail_1:2525", "mail_1:2525"),
            ("bücher.example:25", "xn--bcher-kva.example:25"),
            ("192.0.2.1:25", "192.0.2.1:25"),
            ("[2001:db8::1]:25", "[2001:db8::1]:25"),
            ("::1:25", "[::1]:25"),
            ("/run/dovecot/lmtp", "/run/dovecot/lmtp"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(endpoint.to_string(), shown);
        }
    }

    #[test]
    fn refuses_what_no_connection_can_be_made_to() {
        for (text, advice) in [
            ("smtps://relay.example.net:465", "write \"relay.example.net:465\""),
            ("smtps://relay.example.net", "write \"relay.example.net:465\""),
            ("smtp://relay.example.net", "write \"relay.example.net:25\""),
            ("http://x:80", "write \"x:80\""),
            ("smtp://user@relay:587/path", "write \"relay:587\""),
            ("//box.example.net:24", "write \"box.example.net:24\""),
            ("unix:///run/lmtp", "write \"/run/lmtp\""),
            ("unix:/run/lmtp", "write \"/run/lmtp\""),
            ("relay.example.net", "write the port, such as \"relay.example.net:25\""),
            ("relay:0", "there is no port 0"),
            ("relay:65536", "is not host:port"),
            ("relay:smtp", "is not host:port"),
            (":25", "neither a name nor an address"),
            ("*.example.net:25", "neither a name nor an address"),
            ("user@relay:25", "neither a name nor an address"),
            ("a b:25", "neither a name nor an address"),
            ("a..b:25", "neither a name nor an address"),
            ("192.0.2.256:25", "neither a name nor an address"),
            ("10.1:25", "neither a name nor an address"),
            ("[relay]x:25", "neither a name nor an address"),
            ("2001:db8:25", "is not host:port"),
            ("", "is not host:port"),
        ] {
            let error = text.parse::<Endpoint>().expect_err(text);
            assert!(error.contains(advice), "{text}: {error}");
        }
    }
}
