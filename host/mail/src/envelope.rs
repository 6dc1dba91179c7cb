//! The envelope of a message, as given in the SMTP dialogue.

use serde::{Deserialize, Serialize};

use super::{Mailbox, ReversePath};

/// The BODY parameter of MAIL (RFC 6152).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyType {
    /// Lines of US-ASCII.
    #[default]
    #[serde(rename = "7BIT")]
    SevenBit,
    /// Lines of octets.
    #[serde(rename = "8BITMIME")]
    EightBitMime,
}

/// The envelope of a message: reverse-path, forward-paths and parameters of MAIL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The reverse-path, recipient of notifications.
    pub sender: ReversePath,
    /// Accepted forward-paths, in the order of the RCPT commands.
    pub recipients: Vec<Mailbox>,
    /// The BODY parameter of MAIL (RFC 6152).
    pub body: BodyType,
    /// The SMTPUTF8 parameter of MAIL (RFC 6531): addresses or header fields may be UTF-8.
    pub smtputf8: bool,
}

impl Envelope {
    /// Creates an envelope without recipients, with a 7-bit body and without SMTPUTF8.
    pub fn from_sender(sender: ReversePath) -> Self {
        Self {
            sender,
            recipients: Vec::new(),
            body: BodyType::SevenBit,
            smtputf8: false,
        }
    }
}
