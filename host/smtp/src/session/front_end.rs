//! Clients that a trusted host in front of this one forwards: XCLIENT and XFORWARD, as Postfix defines them.

use std::net::{IpAddr, SocketAddr};

use super::replies;
use host_mail::{Client, Identity, Reply, TlsSession, decode_xtext};

/// Attributes of XCLIENT.
pub const XCLIENT: [&str; 8] = ["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"];
/// Attributes of XFORWARD.
pub const XFORWARD: [&str; 7] = ["NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"];
/// Longest value of an attribute, in octets.
const MAX_VALUE: usize = 255;

/// An attribute with its decoded value; `None` if the front end does not know the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Name in upper case.
    pub name: &'static str,
    /// Printable text.
    pub value: Option<String>,
}

/// Parses attributes, each `NAME=xtext`, with the names in `known`. The error is the reply.
pub fn attributes(argument: &str, known: &[&'static str]) -> Result<Vec<Attribute>, Reply> {
    let bad = || replies::syntax("attribute=value, of those that EHLO lists");
    let mut read: Vec<Attribute> = Vec::new();
    for word in argument.split(' ').filter(|word| !word.is_empty()) {
        let (name, value) = word.split_once('=').ok_or_else(bad)?;
        let name = known
            .iter()
            .find(|known| known.eq_ignore_ascii_case(name))
            .ok_or_else(bad)?;
        if read.iter().any(|attribute| attribute.name == *name) {
            return Err(bad());
        }
        let octets = decode_xtext(value).ok_or_else(bad)?;
        let text = String::from_utf8(octets).map_err(|_| bad())?;
        if text.len() > MAX_VALUE || text.chars().any(char::is_control) {
            return Err(bad());
        }
        let is_known = !["[UNAVAILABLE]", "[TEMPUNAVAIL]"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word));
        read.push(Attribute {
            name,
            value: is_known.then_some(text),
        });
    }
    match read.is_empty() {
        true => Err(bad()),
        false => Ok(read),
    }
}

/// Applies the attributes of XCLIENT to the client so far. The error is the reply.
pub fn identify(before: &Client, attributes: &[Attribute]) -> Result<Client, Reply> {
    let bad = replies::syntax;
    let mut client = Client {
        helo: None,
        exemptions: std::sync::Arc::default(),
        tls: before.tls.clone().map(|tls| TlsSession { subject: None, ..tls }),
        ..before.clone()
    };
    for Attribute { name, value } in attributes {
        match (*name, value) {
            ("ADDR", Some(text)) => {
                let address = address(text).ok_or_else(|| bad("ADDR=address"))?;
                client.address = address.to_canonical();
                // What was known of another address does not count.
                client.name = None;
            }
            ("PORT", Some(text)) => client.port = text.parse().map_err(|_| bad("PORT=port"))?,
            _ => {}
        }
    }
    for Attribute { name, value } in attributes {
        match *name {
            "NAME" => client.name.clone_from(value),
            "HELO" => client.helo.clone_from(value),
            "LOGIN" => {
                client.identity = value.as_ref().map(|account| Identity {
                    account: account.to_lowercase(),
                    mechanism: "XCLIENT".to_owned(),
                });
            }
            _ => {}
        }
    }
    Ok(client)
}

/// Parses an address; one of IPv6 has the prefix `IPV6:`.
fn address(text: &str) -> Option<IpAddr> {
    let v6 = text
        .split_at_checked(5)
        .filter(|(prefix, _)| prefix.eq_ignore_ascii_case("IPV6:"));
    let parsed = match v6 {
        Some((_, address)) => address.parse().ok().filter(IpAddr::is_ipv6),
        None => text.parse().ok(),
    };
    // The port is not part of the address.
    parsed.map(|address: IpAddr| SocketAddr::new(address, 0).ip())
}

/// Returns the client that XFORWARD names, for events: the address, and the name if there is one.
pub fn forwarded_client(attributes: &[Attribute]) -> Option<String> {
    let value = |name: &str| {
        let found = attributes.iter().find(|attribute| attribute.name == name);
        found.and_then(|attribute| attribute.value.as_deref())
    };
    match (value("ADDR"), value("NAME")) {
        (Some(address), Some(name)) => Some(format!("{address} ({name})")),
        (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_attributes_and_refuses_others() {
        let read = attributes("name=mail+2Eexample.org addr=[UNAVAILABLE]", &XCLIENT).expect("valid");
        assert_eq!(read[0].value.as_deref(), Some("mail.example.org"));
        assert_eq!((read[1].name, &read[1].value), ("ADDR", &None));
        for bad in [
            "",
            "NAME",
            "NAME=",
            "COLOUR=red",
            "NAME=a NAME=b",
            "NAME=a+0Ab",
            "NAME=a=b",
            "NAME=+FF",
        ] {
            assert!(attributes(bad, &XCLIENT).is_err(), "{bad}");
        }
        assert!(attributes(&format!("NAME={}", "a".repeat(256)), &XFORWARD).is_err());
    }

    #[test]
    fn identifies_another_client() {
        let front = Client::new("mx", ([127, 0, 0, 1], 25).into());
        let identified = |text: &str| identify(&front, &attributes(text, &XCLIENT).expect("valid"));
        let client = identified("NAME=a.example ADDR=IPV6:2001:db8::1 PORT=99 LOGIN=Anna").expect("valid");
        assert_eq!(client.address.to_string(), "2001:db8::1");
        assert_eq!((client.port, client.name.as_deref()), (99, Some("a.example")));
        assert_eq!(
            client.identity.map(|identity| identity.account).as_deref(),
            Some("anna")
        );
        for bad in ["ADDR=here", "ADDR=IPV6:192.0.2.1", "PORT=70000"] {
            assert!(identified(bad).is_err(), "{bad}");
        }
    }
}
