//! A cache of messages that were just put, or given back to wait. Most are claimed soon and need not be read back.

use std::collections::HashMap;

use bytes::Bytes;
use host_mail::MessageId;

use crate::stored_record::Stored;

/// Capacity in bytes. Messages beyond the capacity, and the files of large ones, are read from the store, which
/// shares the bytes of recent heads with this cache.
const CAPACITY: usize = 8 * 1024 * 1024;
/// Bytes that a record counts beside the head, and again for each recipient.
const RECORD_WEIGHT: usize = 1024;

/// A message's record and head, as stored. Boxed: a record is large, and passes through many hands.
pub(super) type StoredMessage = (Box<Stored>, Bytes);

/// A bounded cache of messages that had no lease since the insertion, so that the cached record is current.
#[derive(Default)]
pub(super) struct RecentWrites {
    messages: HashMap<MessageId, StoredMessage>,
    bytes: usize,
}

impl RecentWrites {
    /// Keeps a message if the capacity allows.
    pub fn insert(&mut self, written: StoredMessage) {
        self.insert_within(CAPACITY, written);
    }

    /// Keeps a message that waits, while half of the capacity is free for new messages.
    pub fn keep(&mut self, waiting: StoredMessage) {
        self.insert_within(CAPACITY / 2, waiting);
    }

    fn insert_within(&mut self, capacity: usize, message: StoredMessage) {
        let bytes = self.bytes + weight(&message);
        if bytes <= capacity {
            self.bytes = bytes;
            self.messages.insert(message.0.message.id, message);
        }
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.messages.len()
    }

    /// Removes a message. Every new lease must do so first, since the record may change under a lease.
    pub fn take(&mut self, id: MessageId) -> Option<StoredMessage> {
        let taken = self.messages.remove(&id)?;
        self.bytes = self.bytes.saturating_sub(weight(&taken));
        Some(taken)
    }
}

fn weight((stored, head): &StoredMessage) -> usize {
    RECORD_WEIGHT * (1 + stored.message.recipients.len()) + head.len()
}
