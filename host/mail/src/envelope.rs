//! The envelope: who a message is from and for, as the dialogue said.

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

/// Who a message is from and for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Where notifications go.
    pub sender: ReversePath,
    /// Accepted forward-paths in the order given.
    pub recipients: Vec<Mailbox>,
    /// RFC 6152.
    pub body: BodyType,
    /// RFC 6531: addresses or header fields may be UTF-8.
    pub smtputf8: bool,
}

impl Envelope {
    /// An envelope without recipients yet.
    pub fn from_sender(sender: ReversePath) -> Self {
        Self {
            sender,
            recipients: Vec::new(),
            body: BodyType::SevenBit,
            smtputf8: false,
        }
    }
}
