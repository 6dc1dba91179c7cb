//! The message under decision, as the guest's handle sees it.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::fault::Abort;
use crate::host_call::Finding;
use host_contract::{Excerpt, Octets};
use host_mail::{Content, HeaderBlock, ReversePath};

/// What ends a header.
const EMPTY_LINE: usize = 2;

/// A growth slot of the contract: there is none yet, so no value of it exists.
pub enum Slot {}

/// The message under decision, as the guest's handle sees it.
#[derive(Clone)]
pub struct MessageView {
    content: Arc<dyn Content>,
    header: Arc<OnceLock<HeaderBlock>>,
    received: Option<Arc<Arrival>>,
    findings: Arc<OnceCell<Vec<Finding>>>,
}

impl MessageView {
    /// Makes a view of `content`. Its header block is scanned at the first question about it.
    pub fn new(content: Arc<dyn Content>) -> Self {
        Self {
            content,
            header: Arc::default(),
            received: None,
            findings: Arc::default(),
        }
    }

    /// Its header is known already.
    pub fn with_header(content: Arc<dyn Content>, header: HeaderBlock) -> Self {
        Self {
            header: Arc::new(OnceLock::from(header)),
            ..Self::new(content)
        }
    }

    /// With what is known of how it came here.
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

    /// What a record keeps of it: the header, the empty line and `body` bytes behind it.
    pub fn excerpt(&self, body: u64) -> std::io::Result<Excerpt> {
        let header = match self.header() {
            Ok(header) => Bytes::copy_from_slice(header.as_bytes()),
            Err(stop) => return Err(std::io::Error::other(stop)),
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

    /// What was verified, once for all modules of the chain.
    pub fn findings(&self) -> &OnceCell<Vec<Finding>> {
        &self.findings
    }

    /// Scanned once for all modules of the chain.
    pub(super) fn header(&self) -> Result<&HeaderBlock, Abort> {
        if let Some(header) = self.header.get() {
            return Ok(header);
        }
        let header = HeaderBlock::read(&*self.content).map_err(unreadable)?;
        Ok(self.header.get_or_init(|| header))
    }
}

pub(super) fn unreadable(error: std::io::Error) -> Abort {
    Abort::Host(format!("the message could not be read: {error}"))
}

/// How a message came here.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The address of the client.
    pub address: IpAddr,
    /// The name that the client gave in EHLO or HELO.
    pub helo: Option<String>,
    /// The reverse-path that the client gave.
    pub sender: ReversePath,
}
