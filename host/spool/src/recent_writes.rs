//! Messages that have just been put. Most are claimed at once and need not be read back.

use std::collections::HashMap;

use fjall::Slice;

use crate::stored_record::Stored;
use host_mail::MessageId;

/// Bytes of messages that are kept; what comes beyond them is read from the store, as are large ones.
/// The store has the same bytes in memory for a while and shares them.
const ROOM: usize = 8 * 1024 * 1024;
/// What a record counts beside the bytes, and again for each recipient.
const RECORD: usize = 1024;

/// A message's record and head, as they are in the store.
pub(super) type StoredMessage = (Stored, Slice);

/// Holds no message that anybody had a grip on since it was put: it may have changed.
#[derive(Default)]
pub(super) struct RecentWrites {
    messages: HashMap<MessageId, StoredMessage>,
    bytes: usize,
}

impl RecentWrites {
    /// Keeps it if there is room.
    pub fn put(&mut self, both: StoredMessage) {
        let bytes = self.bytes + weight(&both);
        if bytes <= ROOM {
            self.bytes = bytes;
            self.messages.insert(both.0.message.id, both);
        }
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.messages.len()
    }

    /// Whoever gets hold of a message calls this first.
    pub fn take(&mut self, id: MessageId) -> Option<StoredMessage> {
        let taken = self.messages.remove(&id)?;
        self.bytes = self.bytes.saturating_sub(weight(&taken));
        Some(taken)
    }
}

fn weight((stored, head): &StoredMessage) -> usize {
    RECORD * (1 + stored.message.recipients.len()) + head.len()
}
