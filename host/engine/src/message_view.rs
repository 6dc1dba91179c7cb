//! A guest's view of the message under decision.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::abort::Abort;
use host_contract::{Excerpt, Octets};
use host_mail::{Content, HeaderBlock, ReversePath};

/// Length of the empty line that ends a header block.
const EMPTY_LINE: usize = 2;

/// A growth slot of the contract. No value exists, since no contract uses the slots yet.
pub enum Slot {}

/// A message as a guest's handle refers to it. Clones share the header block and the verification findings.
#[derive(Clone)]
pub struct MessageView {
    content: Arc<dyn Content>,
    header: Arc<OnceLock<HeaderBlock>>,
    received: Option<Arc<Arrival>>,
    findings: Arc<OnceCell<Vec<Finding>>>,
}

impl MessageView {
    /// Makes a view of `content`. The header block is scanned on first use.
    pub fn new(content: Arc<dyn Content>) -> Self {
        Self {
            content,
            header: Arc::default(),
            received: None,
            findings: Arc::default(),
        }
    }

    /// Makes a view of `content` whose header block is known already.
    pub fn with_header(content: Arc<dyn Content>, header: HeaderBlock) -> Self {
        Self {
            header: Arc::new(OnceLock::from(header)),
            ..Self::new(content)
        }
    }

    /// Adds how the message arrived, which verification needs.
    pub fn received_from(self, received: Arrival) -> Self {
        Self {
            received: Some(Arc::new(received)),
            ..self
        }
    }

    /// Returns the message's bytes.
    pub fn content(&self) -> Arc<dyn Content> {
        Arc::clone(&self.content)
    }

    /// Returns an excerpt for a record: the header block, the empty line and `body` bytes of the body.
    ///
    /// # Errors
    /// The content cannot be read.
    pub fn excerpt(&self, body: u64) -> std::io::Result<Excerpt> {
        let header = match self.header() {
            Ok(header) => Bytes::copy_from_slice(header.as_bytes()),
            Err(abort) => return Err(std::io::Error::other(abort)),
        };
        let length = usize::try_from(body).unwrap_or(usize::MAX).saturating_add(EMPTY_LINE);
        let body = self.content.read(header.len() as u64, length)?;
        Ok(Excerpt {
            size: self.content.size(),
            header: Octets(header),
            body: Octets(body),
        })
    }

    /// Returns how the message arrived; `None` in a replay.
    pub fn received(&self) -> Option<&Arrival> {
        self.received.as_deref()
    }

    /// Findings of verification, computed once for all modules of the chain.
    pub fn findings(&self) -> &OnceCell<Vec<Finding>> {
        &self.findings
    }

    /// Returns the header block, scanned once for all modules of the chain.
    pub(super) fn header(&self) -> Result<&HeaderBlock, Abort> {
        if let Some(header) = self.header.get() {
            return Ok(header);
        }
        let header = HeaderBlock::read(&*self.content).map_err(unreadable)?;
        Ok(self.header.get_or_init(|| header))
    }
}

/// The abort for a message that cannot be read.
pub(super) fn unreadable(error: std::io::Error) -> Abort {
    Abort::Host(format!("the message could not be read: {error}"))
}

/// A result of verification (RFC 8601).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // documented in wit/policy.wit
pub struct Finding {
    pub method: String,
    pub outcome: String,
    pub domain: Option<String>,
    pub detail: Option<String>,
}

/// The client and reverse-path of a message that arrived by SMTP.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The address of the client.
    pub address: IpAddr,
    /// The name that the client gave in EHLO or HELO.
    pub helo: Option<String>,
    /// The reverse-path that the client gave.
    pub sender: ReversePath,
}
