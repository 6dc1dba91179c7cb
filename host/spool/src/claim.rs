//! A message claimed for delivery.

use std::sync::Arc;

use bytes::Bytes;
use host_mail::{Content, Timestamp};

use crate::index_entry::IndexEntry;
use crate::lease::Lease;
use crate::message::Message;
use crate::store::SpoolStore;
use crate::stored_content::StoredContent;
use crate::stored_record::Stored;

/// A message with an exclusive lease, for delivery. Dropping an unsettled claim gives the message back, due as before.
pub struct Claim {
    pub(super) stored: Box<Stored>,
    pub(super) lease: Lease,
    /// True if an operator has released the message since the last claim.
    is_released: bool,
    content: Arc<StoredContent>,
}

impl Claim {
    pub(super) fn new(store: &SpoolStore, stored: Box<Stored>, lease: Lease) -> Self {
        let content = Arc::new(content(store, &stored));
        Self::of(stored, lease, content)
    }

    fn of(stored: Box<Stored>, lease: Lease, content: Arc<StoredContent>) -> Self {
        Self {
            is_released: lease.take_released(),
            stored,
            lease,
            content,
        }
    }

    /// Creates the claim of a recent write, whose head is still in memory.
    pub(super) fn with_head(store: &SpoolStore, stored: Box<Stored>, head: Bytes, lease: Lease) -> Self {
        let content = Arc::new(content(store, &stored).with_head(head));
        Self::of(stored, lease, content)
    }

    /// Gives the message back unchanged, due when one of `destinations` (at least one) is woken, but no later than `until`
    /// or its expiry.
    pub fn wait_for(self, destinations: &[&str], until: Timestamp) {
        let (entry, expires) = (IndexEntry::from(&*self.stored), self.stored.message.expires);
        self.lease.wait_for(entry, destinations, expires.min(until));
    }

    /// Gives the message back like [`Self::wait_for`], for a short wait: the message stays in memory if there is room.
    pub fn wait_briefly_for(self, destination: &str, until: Timestamp) {
        let (entry, expires) = (IndexEntry::from(&*self.stored), self.stored.message.expires);
        if let Some(head) = self.content.loaded_head() {
            self.lease.keep_in_memory((self.stored, head));
        }
        self.lease.wait_for(entry, &[destination], expires.min(until));
    }

    /// True if an operator has released the message since the last claim: the message is to be tried even where a
    /// destination is known to be down.
    pub fn is_released(&self) -> bool {
        self.is_released
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
