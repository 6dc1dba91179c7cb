//! The content that leaves for other hosts: the stored message below the signatures of its author's domain.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::OnceCell;

use host_dkim::{MailOrigin, SignedMail, Signers};
use host_mail::{Content, Timestamp};
use host_spool::Message;

/// Exemption of clients whose mail counts as submitted.
const AUTHENTICATION: &str = "authentication";
/// Largest message that is signed on the task itself, in bytes. A larger message may wait for the disk.
const SMALL: u64 = 64 * 1024;

/// Signs a claimed message at its first attempt at another host. The signatures serve all destinations of the claim, so
/// that a message is hashed once; the spool keeps the message unsigned, so that a later attempt signs with the keys that
/// are in force then.
pub(super) struct OutgoingContent {
    stored: Arc<dyn Content>,
    /// `None` without keys.
    signers: Option<Arc<Signers>>,
    origin: MailOrigin,
    signed: OnceCell<Arc<dyn Content>>,
}

impl OutgoingContent {
    pub(super) fn new(stored: Arc<dyn Content>, record: &Message, signers: &ArcSwap<Signers>) -> Self {
        let signers = signers.load();
        Self {
            stored,
            signers: (!signers.is_empty()).then(|| Arc::clone(&signers)),
            origin: origin(record),
            signed: OnceCell::new(),
        }
    }

    /// Returns the message with its signatures. Cancel safe.
    ///
    /// # Errors
    /// The message cannot be read, or the system has no random numbers.
    pub(super) async fn signed(&self) -> io::Result<Arc<dyn Content>> {
        let Some(signers) = &self.signers else {
            return Ok(self.stored.clone());
        };
        // Boxed: the future of a message without keys stays as it is.
        let signing = Box::pin(self.signed.get_or_try_init(|| self.sign(signers.clone())));
        signing.await.cloned()
    }

    async fn sign(&self, signers: Arc<Signers>) -> io::Result<Arc<dyn Content>> {
        let (stored, origin) = (self.stored.clone(), self.origin);
        let sign = move || signers.sign(stored.as_ref(), origin, Timestamp::now());
        let fields = match self.stored.size() {
            ..=SMALL => sign()?,
            _ => tokio::task::spawn_blocking(sign).await.map_err(io::Error::other)??,
        };
        Ok(match fields.is_empty() {
            true => self.stored.clone(),
            false => Arc::new(PrefixedContent {
                prefix: fields.into(),
                rest: self.stored.clone(),
            }),
        })
    }
}

/// Returns where a message is from: reports and accounts are the host's own; exempt clients stand in for accounts.
fn origin(record: &Message) -> MailOrigin {
    let mail = match &record.client {
        None => SignedMail::Accounts,
        Some(client) if client.identity.is_some() => SignedMail::Accounts,
        Some(client) if client.exemptions.iter().any(|name| name == AUTHENTICATION) => SignedMail::Submissions,
        Some(_) => SignedMail::All,
    };
    MailOrigin {
        mail,
        is_report: record.notification,
    }
}

/// A message with fields on top.
struct PrefixedContent {
    prefix: Bytes,
    rest: Arc<dyn Content>,
}

impl Content for PrefixedContent {
    fn size(&self) -> u64 {
        self.prefix.len() as u64 + self.rest.size()
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let prefix = self.prefix.len();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        if start >= prefix {
            return self.rest.read(offset - prefix as u64, length);
        }
        let end = start.saturating_add(length).min(prefix);
        let part = self.prefix.slice(start..end);
        if part.len() == length {
            return Ok(part);
        }
        let rest = self.rest.read(0, length - part.len())?;
        Ok([part, rest].concat().into())
    }
}

#[cfg(test)]
mod tests {
    use host_mail::InMemory;

    use super::*;

    #[test]
    fn reads_across_the_prefix() {
        let content = PrefixedContent {
            prefix: Bytes::from_static(b"abc"),
            rest: Arc::new(InMemory(Bytes::from_static(b"defgh"))),
        };
        assert_eq!(content.size(), 8);
        for offset in 0..10_usize {
            for length in 0..10_usize {
                let read = content.read(offset as u64, length).expect("in memory");
                let expected: Vec<u8> = b"abcdefgh".iter().skip(offset).take(length).copied().collect();
                assert_eq!(read, expected, "{offset} {length}");
            }
        }
    }
}
