//! Messages that wait until a destination can be reached. In memory only: the records call the messages due, and
//! after a restart the messages are due.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use host_mail::{MessageId, Timestamp};

use crate::index_entry::IndexEntry;

/// Expiry and id of a message.
type Key = (Timestamp, MessageId);

/// Waiting messages by destination and expiry. Destinations without messages have no list.
#[derive(Debug, Default)]
pub(super) struct WaitingByDestination {
    lists: HashMap<Arc<str>, BTreeMap<Key, IndexEntry>>,
    /// Destination and expiry of each waiting message.
    by_id: HashMap<MessageId, (Arc<str>, Timestamp)>,
}

impl WaitingByDestination {
    pub fn add(&mut self, id: MessageId, entry: IndexEntry, destination: &str, expires: Timestamp) {
        let destination = match self.lists.get_key_value(destination) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(destination),
        };
        let list = self.lists.entry(Arc::clone(&destination)).or_default();
        list.insert((expires, id), entry);
        self.by_id.insert(id, (destination, expires));
    }

    /// Removes a message and returns the entry; `None` if the message does not wait.
    pub fn take(&mut self, id: MessageId) -> Option<IndexEntry> {
        let (destination, expires) = self.by_id.remove(&id)?;
        let list = self.lists.get_mut(&destination)?;
        let entry = list.remove(&(expires, id));
        if list.is_empty() {
            self.lists.remove(&destination);
        }
        entry
    }

    /// Removes up to `at_most` messages of a destination, the first to expire first.
    pub fn take_first(&mut self, destination: &str, at_most: usize) -> Vec<(MessageId, IndexEntry)> {
        self.take_while(destination, |taken, _| taken < at_most)
    }

    /// Removes every message that has expired at `now`.
    pub fn take_expired(&mut self, now: Timestamp) -> Vec<(MessageId, IndexEntry)> {
        let mut taken = Vec::new();
        for destination in self.destinations() {
            taken.extend(self.take_while(&destination, |_, expires| expires <= now));
        }
        taken
    }

    /// Removes messages of a destination in order of expiry while `matches(taken so far, expiry)` is true.
    fn take_while(
        &mut self,
        destination: &str,
        matches: impl Fn(usize, Timestamp) -> bool,
    ) -> Vec<(MessageId, IndexEntry)> {
        let mut taken = Vec::new();
        let Some(list) = self.lists.get_mut(destination) else {
            return taken;
        };
        while let Some(first) = list.first_entry() {
            let (expires, id) = *first.key();
            if !matches(taken.len(), expires) {
                break;
            }
            self.by_id.remove(&id);
            taken.push((id, first.remove()));
        }
        if list.is_empty() {
            self.lists.remove(destination);
        }
        taken
    }

    pub fn destinations(&self) -> Vec<Arc<str>> {
        self.lists.keys().cloned().collect()
    }

    /// Returns the destination that a message waits for.
    pub fn destination_of(&self, id: MessageId) -> Option<Arc<str>> {
        self.by_id.get(&id).map(|(destination, _)| Arc::clone(destination))
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }
}
