//! A message somebody works on.

use std::sync::Arc;

use fjall::Slice;

use super::Message;
use super::index::IndexEntry;
use super::store::SpoolStore;
use crate::lease::Lease;
use crate::stored_content::StoredContent;
use crate::stored_record::Stored;
use host_mail::Content;

/// A message somebody works on. Dropped without settling it is given back, due as before.
pub struct Claim {
    pub(super) stored: Stored,
    pub(super) held: Lease,
    content: Arc<StoredContent>,
}

impl Claim {
    pub(super) fn new(store: &SpoolStore, stored: Stored, held: Lease) -> Self {
        let content = Arc::new(content(store, &stored));
        Self { stored, held, content }
    }

    /// Of what has just been put.
    pub(super) fn fresh(store: &SpoolStore, stored: Stored, head: Slice, held: Lease) -> Self {
        let content = Arc::new(content(store, &stored).with_head(head));
        Self { stored, held, content }
    }

    /// Gives the message back as it was. It is not due before `destination` is woken, or it expires.
    pub fn wait_for(self, destination: &str) {
        let (place, expires) = (IndexEntry::from(&self.stored), self.stored.message.expires);
        self.held.waits(place, destination, expires);
    }

    /// Its record.
    pub fn message(&self) -> &Message {
        &self.stored.message
    }

    /// Its bytes.
    pub fn content(&self) -> Arc<dyn Content> {
        self.content.clone()
    }
}

pub(super) fn content(store: &SpoolStore, stored: &Stored) -> StoredContent {
    StoredContent::new(store.clone(), stored.message.id, stored.head, stored.file)
}
