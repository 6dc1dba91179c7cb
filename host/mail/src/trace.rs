//! The trace header (RFC 5321 section 4.4) and hop counting (section 6.3).

use super::{Client, HeaderBlock, Mailbox, MessageId, Timestamp, is_address_literal, is_domain_name};

/// Maximum length of a client's name in the field, in octets.
const MAX_NAME: usize = 255;

/// Data of a `Received:` field.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The client that sent the message.
    pub client: &'a Client,
    /// Name of this host.
    pub by: &'a str,
    /// Id of the message on this host.
    pub id: MessageId,
    /// True if the client used EHLO.
    pub extended: bool,
    /// True if the client used SMTPUTF8 (RFC 6531 section 3.7.3).
    pub utf8: bool,
    /// The recipient for the `for` clause; `None` if there are several, since the clause must not disclose
    /// recipients to each other.
    pub recipient: Option<&'a Mailbox>,
    /// Time at which the message was complete.
    pub at: Timestamp,
}

impl Received<'_> {
    /// Returns the field including the CRLF. The `with` keywords come from RFC 3848 and RFC 6531. An argument of EHLO
    /// that is neither a domain nor an address literal stands in the comment, escaped.
    pub fn field(&self) -> String {
        let helo = self.client.helo.as_deref().unwrap_or("unknown");
        let name = self
            .client
            .name
            .as_deref()
            .map_or(String::new(), |name| format!("{name} "));
        let literal = match self.client.address {
            std::net::IpAddr::V4(v4) => format!("[{v4}]"),
            std::net::IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
        };
        let recipient = self
            .recipient
            .map_or(String::new(), |mailbox| format!("\r\n\tfor <{mailbox}>"));
        let is_plain = helo.is_ascii() && (is_domain_name(helo) || is_address_literal(helo));
        let (from, claim) = if is_plain && helo.len() <= MAX_NAME {
            (helo, String::new())
        } else {
            (literal.as_str(), format!("helo={} ", escaped(helo)))
        };
        format!(
            "Received: from {from} ({claim}{name}{literal})\r\n\tby {} with {} id {}{recipient};\r\n\t{}\r\n",
            self.by,
            self.protocol(),
            self.id,
            self.at.rfc5322(),
        )
    }

    fn protocol(&self) -> String {
        if !self.extended {
            return "SMTP".to_owned();
        }
        let base = if self.utf8 { "UTF8SMTP" } else { "ESMTP" };
        let tls = if self.client.tls.is_some() { "S" } else { "" };
        let auth = if self.client.identity.is_some() { "A" } else { "" };
        format!("{base}{tls}{auth}")
    }
}

/// Returns a client's name for a comment of a header field: characters with a meaning there, and characters beyond
/// ASCII, become `?`.
fn escaped(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_graphic() && !matches!(c, '(' | ')' | '\\' | '"') || c == ' ' {
            c
        } else {
            '?'
        }
    };
    name.chars().take(MAX_NAME).map(plain).collect()
}

/// Counts the hosts that the message has passed: the `Received:` fields.
pub fn hop_count(header: &HeaderBlock) -> usize {
    header.named("Received").count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(helo: &str) -> String {
        let mut client = Client::new("smtp", ([192, 0, 2, 1], 25).into());
        client.helo = Some(helo.to_owned());
        let received = Received {
            client: &client,
            by: "mx.example.org",
            id: MessageId::generate(),
            extended: true,
            utf8: false,
            recipient: None,
            at: Timestamp(0),
        };
        received.field()
    }

    #[test]
    fn names_the_client_as_it_does() {
        for name in ["client.example", "my_pc", "[192.0.2.9]", "[IPv6:fe80::1]"] {
            let from = format!("Received: from {name} ([192.0.2.1])\r\n\tby mx.example.org with ESMTP id ");
            assert!(field(name).starts_with(&from), "{}", field(name));
        }
    }

    #[test]
    fn escapes_any_other_name_in_the_comment() {
        for (name, claim) in [
            ("", "helo="),
            ("my-pc-", "helo=my-pc-"),
            ("PC von Anna", "helo=PC von Anna"),
            ("[IPv6:fe80::1%eth0]", "helo=[IPv6:fe80::1%eth0]"),
            (
                "x) by evil.example (\\\"\r\nBcc: a",
                "helo=x? by evil.example ?????Bcc: a",
            ),
            ("b\u{fc}cher.example", "helo=b?cher.example"),
        ] {
            let from = format!("Received: from [192.0.2.1] ({claim} [192.0.2.1])\r\n\tby ");
            assert!(field(name).starts_with(&from), "{}", field(name));
        }
        assert!(field(&"x".repeat(500)).lines().all(|line| line.len() < 400));
    }
}
