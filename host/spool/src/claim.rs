//! A message claimed for delivery.

use std::sync::Arc;

use fjall::Slice;
use host_mail::{Content, Timestamp};

use crate::index_entry::IndexEntry;
use crate::lease::Lease;
use crate::message::Message;
use crate::store::SpoolStore;
use crate::stored_content::StoredContent;
use crate::stored_record::Stored;

/// A message with an exclusive lease, for delivery. Dropping an unsettled claim gives the message back, due as before.
pub struct Claim {
    pub(super) stored: Stored,
    pub(super) lease: Lease,
    content: Arc<StoredContent>,
}

impl Claim {
    pub(super) fn new(store: &SpoolStore, stored: Stored, lease: Lease) -> Self {
        let content = Arc::new(content(store, &stored));
        Self { stored, lease, content }
    }

    /// Creates the claim of a recent write, whose head is still in memory.
    pub(super) fn with_head(store: &SpoolStore, stored: Stored, head: Slice, lease: Lease) -> Self {
        let content = Arc::new(content(store, &stored).with_head(head));
        Self { stored, lease, content }
    }

    /// Gives the message back unchanged, due when `destination` is woken, but no later than `until` or its expiry.
    pub fn wait_for(self, destination: &str, until: Timestamp) {
        let (entry, expires) = (IndexEntry::from(&self.stored), self.stored.message.expires);
        self.lease.wait_for(entry, destination, expires.min(until));
    }

    /// The message's record.
    pub fn message(&self) -> &Message {
        &self.stored.message
    }

    /// The message's bytes.
    pub fn content(&self) -> Arc<dyn Content> {
        self.content.clone()
    }
}

pub(super) fn content(store: &SpoolStore, stored: &Stored) -> StoredContent {
    StoredContent::new(store.clone(), stored.message.id, stored.head, stored.file)
}
