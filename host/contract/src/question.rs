//! Questions: what a mail server asks a policy, as values that can be recorded and asked again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::decision::Failure;
use host_mail::{Client, Content, Envelope, Mailbox, ReversePath};

/// A question in the host's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // wit/policy.wit says it
pub enum Question {
    Admit {
        client: Client,
    },
    Sender {
        client: Client,
        sender: ReversePath,
    },
    Recipient {
        client: Client,
        sender: ReversePath,
        recipient: Mailbox,
    },
    Message {
        client: Client,
        envelope: Envelope,
        message: Excerpt,
    },
    Plan {
        failure: Box<Failure>,
    },
}

impl Question {
    /// As events name it.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Admit { .. } => "admit",
            Self::Sender { .. } => "sender",
            Self::Recipient { .. } => "recipient",
            Self::Message { .. } => "message",
            Self::Plan { .. } => "ndr",
        }
    }

    /// What it is about, for people. Hostile: escape it before showing it.
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

/// What is kept of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Excerpt {
    /// Bytes of the whole message.
    pub size: u64,
    /// The header block, without the empty line.
    pub header: Octets,
    /// What follows it, as far as it was kept: the empty line, and some of the body.
    pub body: Octets,
}

impl Content for Excerpt {
    fn size(&self) -> u64 {
        self.size
    }

    /// Short where not more was kept.
    fn read(&self, offset: u64, length: usize) -> std::io::Result<Bytes> {
        let (header, body) = (&self.header.0, &self.body.0);
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let known = header.iter().skip(at);
        let rest = body.iter().skip(at.saturating_sub(header.len()));
        Ok(known.chain(rest).take(length).copied().collect())
    }
}

/// Bytes: text where they are UTF-8, else base64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Octets(pub Bytes);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Written {
    Text(String),
    Base64(String),
}

impl From<Octets> for Written {
    fn from(octets: Octets) -> Self {
        match std::str::from_utf8(&octets.0) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(STANDARD.encode(&octets.0)),
        }
    }
}

impl From<Written> for Octets {
    /// What is not base64 after all is taken as it stands: only a record that was tampered with has it.
    fn from(written: Written) -> Self {
        Self(match written {
            Written::Text(text) => text.into(),
            Written::Base64(text) => STANDARD.decode(&text).map_or_else(|_| text.into(), Bytes::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_were_whether_they_are_text_or_not() {
        for bytes in [&b"Subject: \xff\r\n"[..], b"Subject: h\xc3\xb6flich\r\n", b""] {
            let octets = Octets(Bytes::copy_from_slice(bytes));
            let json = serde_json::to_string(&octets).expect("JSON");
            assert_eq!(serde_json::from_str::<Octets>(&json).expect("octets"), octets, "{json}");
        }
    }

    #[test]
    fn an_excerpt_reads_as_the_message_did_as_far_as_it_goes() {
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
