//! The spool: durable put, claim, settle. A 250 means a put has returned.
//!
//! `docs/spool.md` has the table of states and what a crash leaves in each.

mod message;

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::event::Events;
use crate::mail::{Content, MessageId, Timestamp};

pub use message::{Failed, Message, Recipient, RecipientState, State};

/// How a spool is opened.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// New mail is refused below this many free bytes; delivery goes on.
    pub low_water: u64,
}

/// Why a spool was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A newer Posthouse wrote it.
    #[error(
        "the spool has format {found}, this Posthouse knows up to {known}: use the newer release, or another data folder"
    )]
    Newer {
        /// The format found.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// Another process has it open.
    #[error("the spool is in use by another process")]
    InUse,
    /// The store failed.
    #[error("spool: {0}")]
    Store(String),
}

/// Why something was not put.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Below the water mark.
    #[error("{free} bytes free, below the mark of {mark}")]
    Full {
        /// Free bytes on the spool's disk.
        free: u64,
        /// The configured mark.
        mark: u64,
    },
    /// The store failed; nothing was put.
    #[error("spool: {0}")]
    Store(String),
}

/// Which messages to list.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    /// `queued`, `failing`, `quarantined` or `frozen`; none is all.
    pub state: Option<String>,
    /// Only after this id.
    pub after: Option<MessageId>,
    /// At most so many.
    pub limit: usize,
}

/// How many messages stand where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct Counts {
    pub queued: u64,
    pub failing: u64,
    pub quarantined: u64,
    pub frozen: u64,
    pub set_aside: u64,
    pub claimed: u64,
}

/// The store of messages. Cheap to clone.
#[derive(Clone)]
pub struct Spool {}

impl Spool {
    /// Opens the folder and puts every left-over of the last run in order (5015, 5016).
    pub fn open(_path: &Path, _options: SpoolOptions, _events: Events) -> Result<Self, OpenError> {
        todo!()
    }

    /// A place for a message that is being received. Below the water mark there is none.
    pub fn draft(&self) -> Result<Draft, PutError> {
        todo!()
    }

    /// A place for the host's own notifications, which the water mark does not stop.
    pub fn notice_draft(&self) -> Draft {
        todo!()
    }

    /// Messages that are due and that nobody works on, queued or failing, oldest due first.
    pub fn claim_due(&self, _now: Timestamp, _at_most: usize) -> Vec<Claim> {
        todo!()
    }

    /// When the next unclaimed message is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        todo!()
    }

    /// Returns when something was put, given back or made due since the last call.
    pub async fn changed(&self) {
        todo!()
    }

    /// One durable batch: the claimed message's new record (none removes it) and its notices.
    /// On an error nothing has changed and the claim is given back.
    pub async fn settle(
        &self,
        _claim: Claim,
        _next: Option<Message>,
        _notices: Vec<(Draft, Message)>,
    ) -> Result<(), PutError> {
        todo!()
    }

    /// Messages in order of arrival.
    pub fn list(&self, _filter: &ListFilter) -> Result<Vec<Message>, PutError> {
        todo!()
    }

    /// One message and its bytes.
    pub fn get(&self, _id: MessageId) -> Result<Option<(Message, Arc<dyn Content>)>, PutError> {
        todo!()
    }

    /// Makes a waiting, frozen or quarantined message due now; false if there is none to be.
    pub async fn release(&self, _id: MessageId) -> Result<bool, PutError> {
        todo!()
    }

    /// Removes a message nobody works on; false if there is none.
    pub async fn delete(&self, _id: MessageId) -> Result<bool, PutError> {
        todo!()
    }

    /// How many messages stand where.
    pub fn counts(&self) -> Counts {
        todo!()
    }

    /// Writes what is left to write and closes the store.
    pub async fn close(&self) {
        todo!()
    }
}

/// A message that is being received. Dropping it removes what was written.
pub struct Draft {}

impl Draft {
    /// The message's name.
    pub fn id(&self) -> MessageId {
        todo!()
    }

    /// Adds bytes; beyond a small buffer they go to the disk, not yet synced.
    pub async fn write(&mut self, _bytes: &[u8]) -> Result<(), PutError> {
        todo!()
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        todo!()
    }

    /// What was written so far, readable as long as the draft lives.
    pub fn content(&self) -> Arc<dyn Content> {
        todo!()
    }

    /// Replaces the first `skip` bytes by `prefix`: trace header, added and removed fields.
    pub fn set_prefix(&mut self, _prefix: Vec<u8>, _skip: u64) {
        todo!()
    }

    /// Returns after the sync: the message is on disk. `message.id` is this draft's, its size is
    /// set here.
    pub async fn commit(self, _message: Message) -> Result<(), PutError> {
        todo!()
    }
}

/// A message somebody works on. Dropped without settling it is given back, due as before.
pub struct Claim {}

impl Claim {
    /// Its record.
    pub fn message(&self) -> &Message {
        todo!()
    }

    /// Its bytes.
    pub fn content(&self) -> Arc<dyn Content> {
        todo!()
    }
}
