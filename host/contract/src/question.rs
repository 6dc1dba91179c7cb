//! Questions of a mail server to its policies, as values that can be recorded and replayed.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::decision::Failure;
use host_mail::{Client, Content, Envelope, Mailbox, ReversePath};

/// A question to the policies of the chain. `M` is the form of the message: an [`Excerpt`] in records, the message
/// itself while mail is served. Shared parts are counted references, so that a question costs no copy for each module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // wit/policy.wit documents each question
pub enum Question<M = Excerpt> {
    Admit {
        client: Arc<Client>,
    },
    Sender {
        client: Arc<Client>,
        sender: Arc<ReversePath>,
    },
    Recipient {
        client: Arc<Client>,
        sender: Arc<ReversePath>,
        recipient: Mailbox,
    },
    Message {
        client: Arc<Client>,
        envelope: Arc<Envelope>,
        message: M,
    },
    Plan {
        failure: Arc<Failure>,
    },
}

impl<M> Question<M> {
    /// Returns the stage as events and status name it: `admit`, `sender`, `recipient`, `message` or `ndr`.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Admit { .. } => "admit",
            Self::Sender { .. } => "sender",
            Self::Recipient { .. } => "recipient",
            Self::Message { .. } => "message",
            Self::Plan { .. } => "ndr",
        }
    }

    /// Returns the message, if the question is about one.
    pub fn message(&self) -> Option<&M> {
        match self {
            Self::Message { message, .. } => Some(message),
            _ => None,
        }
    }

    /// Converts the message; every other question stays as it is.
    ///
    /// # Errors
    /// Those of `convert`.
    pub fn with_message<N, E>(&self, convert: impl FnOnce(&M) -> Result<N, E>) -> Result<Question<N>, E> {
        Ok(match self {
            Self::Admit { client } => Question::Admit {
                client: Arc::clone(client),
            },
            Self::Sender { client, sender } => Question::Sender {
                client: Arc::clone(client),
                sender: Arc::clone(sender),
            },
            Self::Recipient {
                client,
                sender,
                recipient,
            } => Question::Recipient {
                client: Arc::clone(client),
                sender: Arc::clone(sender),
                recipient: recipient.clone(),
            },
            Self::Message {
                client,
                envelope,
                message,
            } => Question::Message {
                client: Arc::clone(client),
                envelope: Arc::clone(envelope),
                message: convert(message)?,
            },
            Self::Plan { failure } => Question::Plan {
                failure: Arc::clone(failure),
            },
        })
    }
}

impl Question {
    /// Returns a short description of the question's subject, for humans. The text may be hostile: escape before
    /// output.
    pub fn subject(&self) -> String {
        match self {
            Self::Admit { client } => client.address.to_string(),
            Self::Sender { sender, .. } => sender.to_string(),
            Self::Recipient { recipient, .. } => format!("<{recipient}>"),
            Self::Message { envelope, message, .. } => {
                format!("{} from {}", bytes(message.size), envelope.sender)
            }
            Self::Plan { failure } => format!("{} from {}", failure.class, failure.envelope.sender),
        }
    }
}

fn bytes(count: u64) -> String {
    format!("{count} byte{}", if count == 1 { "" } else { "s" })
}

/// The part of a message that a decision record keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Excerpt {
    /// Size of the whole message in bytes.
    pub size: u64,
    /// Header block, without the empty line.
    pub header: Octets,
    /// Recorded bytes after the header block: the empty line and the beginning of the body.
    pub body: Octets,
}

impl Content for Excerpt {
    fn size(&self) -> u64 {
        self.size
    }

    /// Reads recorded bytes; fewer than `length` if the record ends before.
    fn read(&self, offset: u64, length: usize) -> std::io::Result<Bytes> {
        let (header, body) = (&self.header.0, &self.body.0);
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let from_header = header.iter().skip(at);
        let from_body = body.iter().skip(at.saturating_sub(header.len()));
        Ok(from_header.chain(from_body).take(length).copied().collect())
    }
}

/// Bytes that are serialized as text if valid UTF-8, otherwise as base64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "EncodedOctets", into = "EncodedOctets")]
pub struct Octets(pub Bytes);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum EncodedOctets {
    Text(String),
    Base64(String),
}

impl From<Octets> for EncodedOctets {
    fn from(octets: Octets) -> Self {
        match std::str::from_utf8(&octets.0) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(STANDARD.encode(&octets.0)),
        }
    }
}

impl From<EncodedOctets> for Octets {
    /// Decodes the bytes. Invalid base64, which only a manipulated record has, is kept as text.
    fn from(encoded: EncodedOctets) -> Self {
        Self(match encoded {
            EncodedOctets::Text(text) => text.into(),
            EncodedOctets::Base64(text) => STANDARD.decode(&text).map_or_else(|_| text.into(), Bytes::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_round_trip_as_text_or_base64() {
        for bytes in [&b"Subject: \xff\r\n"[..], b"Subject: h\xc3\xb6flich\r\n", b""] {
            let octets = Octets(Bytes::copy_from_slice(bytes));
            let json = serde_json::to_string(&octets).expect("JSON");
            assert_eq!(serde_json::from_str::<Octets>(&json).expect("octets"), octets, "{json}");
        }
    }

    #[test]
    fn excerpt_reads_like_the_message_up_to_the_end_of_the_record() {
        let excerpt = Excerpt {
            size: 100,
            header: Octets("A: b\r\n".into()),
            body: Octets("\r\nHello".into()),
        };
        assert_eq!(excerpt.read(0, 100).expect("read"), "A: b\r\n\r\nHello");
        assert_eq!(excerpt.read(4, 6).expect("read"), "\r\n\r\nHe");
        assert_eq!(excerpt.read(8, 2).expect("read"), "He");
        assert_eq!(excerpt.read(90, 10).expect("read"), "");
    }
}
