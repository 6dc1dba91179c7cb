//! The trace header (RFC 5321 section 4.4) and hop counting (section 6.3).

use super::{Client, HeaderBlock, Mailbox, MessageId, Timestamp};

/// What a `Received:` field says.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Who handed the message over.
    pub client: &'a Client,
    /// This host's name.
    pub by: &'a str,
    /// The message's name here.
    pub id: MessageId,
    /// EHLO was used.
    pub extended: bool,
    /// SMTPUTF8 was used (RFC 6531 section 3.7.3).
    pub utf8: bool,
    /// Named only when there is exactly one recipient: `for` must not disclose others.
    pub recipient: Option<&'a Mailbox>,
    /// When the message was complete.
    pub at: Timestamp,
}

impl Received<'_> {
    /// The field with its CRLF. The `with` keyword is RFC 3848's and RFC 6531's.
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
        format!(
            "Received: from {helo} ({name}{literal})\r\n\tby {} with {} id {}{recipient};\r\n\t{}\r\n",
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

/// How many hosts the message has passed.
pub fn hop_count(header: &HeaderBlock) -> usize {
    header.named("Received").count()
}
