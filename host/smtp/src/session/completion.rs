//! Completion of submitted messages (RFC 6409 section 8): fields that a client left out are added, and `Bcc` is taken
//! out. Computed in full before the policy sees the message.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::edits::remove_fields;
use super::receive::Rejection;
use super::replies;
use host_config::SubmissionConfig;
use host_mail::{Client, Content, HeaderBlock, MessageId, ReversePath, Timestamp};

/// Fields that name recipients which the others must not see (RFC 5322 section 3.6.3).
const BLIND: [&str; 2] = ["Bcc", "Resent-Bcc"];
/// Exemption of clients whose mail counts as submitted.
const AUTHENTICATION: &str = "authentication";

/// A header that replaces the one that the client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Octets that replace the first `skip` octets of the message.
    pub header: Bytes,
    /// Number of octets at the front of the message that `header` replaces.
    pub skip: u64,
    /// Names of the added fields.
    pub added: Vec<String>,
    /// Names of the removed fields, and `mbox` for a first line `From `.
    pub removed: Vec<String>,
}

/// Facts about a message that its completion takes up.
pub struct Submitted<'a> {
    /// Client that sent the message.
    pub client: &'a Client,
    /// Reverse-path of the message.
    pub sender: &'a ReversePath,
    /// Name of this host.
    pub hostname: &'a str,
    /// Id of the message.
    pub id: MessageId,
    /// Time at which the message was received.
    pub at: Timestamp,
}

/// True for mail of authenticated accounts and of clients that are exempt from authentication. Mail of others is in
/// transfer, and is not completed (RFC 5321 section 6.4).
pub fn is_submission(client: &Client) -> bool {
    client.identity.is_some() || client.exemptions.iter().any(|name| name == AUTHENTICATION)
}

/// Returns the completion of a message; `None` if nothing is missing.
///
/// # Errors
/// The message has neither `From` nor `Date`, and the configuration has such messages refused.
pub fn complete(
    header: &HeaderBlock,
    submitted: &Submitted<'_>,
    config: &SubmissionConfig,
) -> Result<Option<Completion>, Rejection> {
    if !config.complete || !is_submission(submitted.client) {
        return Ok(None);
    }
    let block = header.as_bytes();
    let mbox = mbox_line(block);
    let (_, fields) = block.split_at(mbox);
    let has = |name: &str| header.named(name).next().is_some();
    if config.refuse_bare && !has("From") && !has("Date") {
        return Err(Rejection::new(replies::neither_author_nor_date(), "submission"));
    }
    let mut added = Vec::new();
    let mut text = String::new();
    let mut add = |name: &str, value: String| {
        text.push_str(&format!("{name}: {value}\r\n"));
        added.push(name.to_owned());
    };
    if !has("Date") {
        add("Date", submitted.at.rfc5322());
    }
    if let Some(sender) = submitted.sender.mailbox().filter(|_| config.add_from && !has("From")) {
        add("From", format!("<{sender}>"));
    }
    if !has("Message-ID") {
        add("Message-ID", format!("<{}@{}>", submitted.id, submitted.hostname));
    }
    let mut removed: Vec<String> = BLIND
        .iter()
        .filter(|name| has(name))
        .map(|name| (*name).to_owned())
        .collect();
    let kept = match removed.is_empty() {
        true => fields.to_vec(),
        false => remove_fields(fields, &BLIND),
    };
    if mbox > 0 {
        removed.push("mbox".to_owned());
    }
    if added.is_empty() && removed.is_empty() {
        return Ok(None);
    }
    let mut bytes = text.into_bytes();
    // Text without any field is a body.
    if !kept.is_empty() && header.fields().next().is_none() {
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend(kept);
    Ok(Some(Completion {
        header: bytes.into(),
        skip: block.len() as u64,
        added,
        removed,
    }))
}

/// Length of a first line `From sender date` (RFC 4155), which programs that send mailbox files leave; 0 without one.
fn mbox_line(block: &[u8]) -> usize {
    let line = block
        .split_inclusive(|octet| *octet == b'\n')
        .next()
        .unwrap_or_default();
    let Some(rest) = line.strip_prefix(b"From ") else {
        return 0;
    };
    // `From : anna@example.org` is a field in its obsolete form (RFC 5322 section 4.5).
    match rest.trim_ascii_start().first() {
        Some(b':') => 0,
        _ => line.len(),
    }
}

/// A message with a completed header.
pub struct CompletedContent {
    /// Octets in place of the first `skip` octets.
    pub header: Bytes,
    /// Number of octets that `header` replaces.
    pub skip: u64,
    /// Message as received.
    pub received: Arc<dyn Content>,
}

impl Content for CompletedContent {
    fn size(&self) -> u64 {
        (self.header.len() as u64 + self.received.size()).saturating_sub(self.skip)
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let header = self.header.len();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        if start >= header {
            return self.received.read(self.skip + offset - header as u64, length);
        }
        let part = self.header.slice(start..start.saturating_add(length).min(header));
        if part.len() == length {
            return Ok(part);
        }
        let rest = self.received.read(self.skip, length - part.len())?;
        Ok([part, rest].concat().into())
    }
}

#[cfg(test)]
mod tests {
    use host_mail::InMemory;

    use super::*;

    const CONFIG: SubmissionConfig = SubmissionConfig {
        complete: true,
        add_from: true,
        refuse_bare: false,
    };

    fn client(exemption: Option<&str>) -> Client {
        let mut client = Client::new("smtp", "192.0.2.1:25".parse().expect("an address"));
        client.exemptions = exemption.map(str::to_owned).into_iter().collect();
        client
    }

    /// Returns the completed message, with the id, and the names of added and removed fields.
    fn completed(message: &str, sender: &str, config: &SubmissionConfig) -> Option<(String, Vec<String>, Vec<String>)> {
        let header = HeaderBlock::read(&InMemory(message.to_owned().into())).expect("in memory");
        let sender = match sender {
            "" => ReversePath::Null,
            mailbox => ReversePath::Mailbox(mailbox.parse().expect("a mailbox")),
        };
        let id = MessageId::generate();
        let submitted = Submitted {
            client: &client(Some(AUTHENTICATION)),
            sender: &sender,
            hostname: "mx.example",
            id,
            at: Timestamp(0),
        };
        let done = complete(&header, &submitted, config).ok()??;
        let content = CompletedContent {
            header: done.header,
            skip: done.skip,
            received: Arc::new(InMemory(message.to_owned().into())),
        };
        let all = content.read(0, 10_000).expect("in memory");
        assert_eq!(content.size(), all.len() as u64);
        for split in 0..all.len() {
            let parts = [
                content.read(0, split).expect("in memory"),
                content.read(split as u64, 10_000).expect("in memory"),
            ];
            assert_eq!(parts.concat(), all);
        }
        let text = String::from_utf8(all.to_vec()).expect("text");
        Some((text.replace(&id.to_string(), "ID"), done.added, done.removed))
    }

    #[test]
    fn adds_what_is_missing() {
        const DATE: &str = "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n";
        for (message, sender, expected) in [
            (
                "Subject: x\r\n\r\nHello\r\n",
                "a@b.example",
                format!("{DATE}From: <a@b.example>\r\nMessage-ID: <ID@mx.example>\r\nSubject: x\r\n\r\nHello\r\n"),
            ),
            (
                "Subject: x\r\n\r\nHello\r\n",
                "",
                format!("{DATE}Message-ID: <ID@mx.example>\r\nSubject: x\r\n\r\nHello\r\n"),
            ),
            (
                "From: c@d.example\r\ndate : x\r\n",
                "a@b.example",
                "Message-ID: <ID@mx.example>\r\nFrom: c@d.example\r\ndate : x\r\n".to_owned(),
            ),
            (
                "Hello.\r\n",
                "",
                format!("{DATE}Message-ID: <ID@mx.example>\r\n\r\nHello.\r\n"),
            ),
            ("", "", format!("{DATE}Message-ID: <ID@mx.example>\r\n")),
            (
                "\r\nHello\r\n",
                "",
                format!("{DATE}Message-ID: <ID@mx.example>\r\n\r\nHello\r\n"),
            ),
        ] {
            let (text, ..) = completed(message, sender, &CONFIG).expect("completed");
            assert_eq!(text, expected, "{message:?}");
        }
    }

    #[test]
    fn takes_out_blind_copies_and_the_line_of_a_mailbox_file() {
        let message = "From anna Mon Nov 30 12:00:00 2026\r\nFrom: a@b.example\r\nBcc: x@y.example,\r\n z@y.example\r\n\
                       Date: x\r\nMessage-ID: <1@x>\r\n\r\nBcc: in the body\r\n";
        let (text, added, removed) = completed(message, "a@b.example", &CONFIG).expect("completed");
        assert_eq!(
            text,
            "From: a@b.example\r\nDate: x\r\nMessage-ID: <1@x>\r\n\r\nBcc: in the body\r\n"
        );
        assert_eq!((added.len(), removed), (0, vec!["Bcc".to_owned(), "mbox".to_owned()]));
        let field = "From : a@b.example\r\nDate: x\r\nMessage-ID: <1@x>\r\n\r\n";
        assert_eq!(completed(field, "a@b.example", &CONFIG), None, "an obsolete field");
    }

    #[test]
    fn settings_and_strangers() {
        let refuse = SubmissionConfig {
            refuse_bare: true,
            ..CONFIG
        };
        assert_eq!(completed("Subject: x\r\n\r\n", "a@b.example", &refuse), None, "refused");
        let no_from = SubmissionConfig {
            add_from: false,
            ..CONFIG
        };
        let (text, ..) =
            completed("Date: x\r\nMessage-ID: y\r\n Bcc: no\r\n", "a@b.example", &no_from).unwrap_or_default();
        assert_eq!(text, "", "nothing to add");
        for (exemption, expected) in [(None, false), (Some("encryption"), false), (Some(AUTHENTICATION), true)] {
            assert_eq!(is_submission(&client(exemption)), expected);
        }
    }
}
