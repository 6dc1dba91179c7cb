//! Messages that wait until their destination can be reached, by destination. In memory only: their
//! records say that they are due, and so they are after a restart.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::index::IndexEntry;
use host_mail::{MessageId, Timestamp};

/// When a message must be looked at whatever its destination does, and which it is.
type Key = (Timestamp, MessageId);

/// See the module. A destination without messages is not in it.
#[derive(Debug, Default)]
pub(super) struct WaitingByDestination {
    lists: HashMap<Arc<str>, BTreeMap<Key, IndexEntry>>,
    whereabouts: HashMap<MessageId, (Arc<str>, Timestamp)>,
}

impl WaitingByDestination {
    pub fn add(&mut self, id: MessageId, place: IndexEntry, destination: &str, expires: Timestamp) {
        let destination = match self.lists.get_key_value(destination) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(destination),
        };
        let list = self.lists.entry(Arc::clone(&destination)).or_default();
        list.insert((expires, id), place);
        self.whereabouts.insert(id, (destination, expires));
    }

    /// Where it stands by its record, if it waits here.
    pub fn take(&mut self, id: MessageId) -> Option<IndexEntry> {
        let (destination, expires) = self.whereabouts.remove(&id)?;
        let list = self.lists.get_mut(&destination)?;
        let place = list.remove(&(expires, id));
        if list.is_empty() {
            self.lists.remove(&destination);
        }
        place
    }

    /// Up to so many of a destination, those that expire first.
    pub fn take_some(&mut self, destination: &str, at_most: usize) -> Vec<(MessageId, IndexEntry)> {
        self.take_while(destination, |taken, _| taken < at_most)
    }

    /// Those that have expired.
    pub fn take_expired(&mut self, now: Timestamp) -> Vec<(MessageId, IndexEntry)> {
        let mut taken = Vec::new();
        for destination in self.destinations() {
            taken.extend(self.take_while(&destination, |_, expires| expires <= now));
        }
        taken
    }

    fn take_while(
        &mut self,
        destination: &str,
        wanted: impl Fn(usize, Timestamp) -> bool,
    ) -> Vec<(MessageId, IndexEntry)> {
        let mut taken = Vec::new();
        let Some(list) = self.lists.get_mut(destination) else {
            return taken;
        };
        while let Some(first) = list.first_entry() {
            let (expires, id) = *first.key();
            if !wanted(taken.len(), expires) {
                break;
            }
            self.whereabouts.remove(&id);
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

    /// What this message waits for.
    pub fn destination_of(&self, id: MessageId) -> Option<Arc<str>> {
        self.whereabouts
            .get(&id)
            .map(|(destination, _)| Arc::clone(destination))
    }

    pub fn len(&self) -> usize {
        self.whereabouts.len()
    }
}
