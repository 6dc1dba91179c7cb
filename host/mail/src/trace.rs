//! The trace header (RFC 5321 section 4.4) and hop counting (section 6.3).

use super::{Client, HeaderBlock, Mailbox, MessageId, Timestamp};

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
    /// Returns the field including the CRLF. The `with` keywords come from RFC 3848 and RFC 6531.
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

/// Counts the hosts that the message has passed: the `Received:` fields.
pub fn hop_count(header: &HeaderBlock) -> usize {
    header.named("Received").count()
}
