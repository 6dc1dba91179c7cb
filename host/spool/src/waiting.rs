//! Messages that wait until a destination can be reached. In memory only: the records call the messages due, and
//! after a restart the messages are due.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use host_mail::{MessageId, Timestamp};

use crate::index_entry::IndexEntry;

/// End of the wait and id of a message.
type Key = (Timestamp, MessageId);

/// A waiting message. The destinations are named in the order of the wait's beginning, each once.
#[derive(Debug)]
struct WaitingMessage {
    entry: IndexEntry,
    until: Timestamp,
    destinations: Vec<Arc<str>>,
}

/// Waiting messages by destination and end of the wait. Destinations without messages have no list.
#[derive(Debug, Default)]
pub(super) struct WaitingByDestination {
    lists: HashMap<Arc<str>, BTreeSet<Key>>,
    by_id: HashMap<MessageId, WaitingMessage>,
}

impl WaitingByDestination {
    /// Adds a message that waits for any of `destinations`, at least one, or for the time `until`.
    pub fn add(&mut self, id: MessageId, entry: IndexEntry, destinations: &[&str], until: Timestamp) {
        let mut known: Vec<Arc<str>> = Vec::with_capacity(destinations.len());
        for destination in destinations {
            let destination = match self.lists.get_key_value(*destination) {
                Some((known, _)) => Arc::clone(known),
                None => Arc::from(*destination),
            };
            let list = self.lists.entry(Arc::clone(&destination)).or_default();
            if list.insert((until, id)) {
                known.push(destination);
            }
        }
        let waiting = WaitingMessage {
            entry,
            until,
            destinations: known,
        };
        self.by_id.insert(id, waiting);
    }

    /// Removes a message and returns the entry; `None` if the message does not wait.
    pub fn take(&mut self, id: MessageId) -> Option<IndexEntry> {
        let waiting = self.by_id.remove(&id)?;
        for destination in &waiting.destinations {
            if let Some(list) = self.lists.get_mut(destination) {
                list.remove(&(waiting.until, id));
                if list.is_empty() {
                    self.lists.remove(destination);
                }
            }
        }
        Some(waiting.entry)
    }

    /// Removes up to `at_most` messages of a destination, those whose wait ends first.
    pub fn take_first(&mut self, destination: &str, at_most: usize) -> Vec<(MessageId, IndexEntry)> {
        self.take_while(destination, |taken, _| taken < at_most)
    }

    /// Removes every message whose wait has ended at `now`.
    pub fn take_expired(&mut self, now: Timestamp) -> Vec<(MessageId, IndexEntry)> {
        let mut taken = Vec::new();
        for destination in self.destinations() {
            taken.extend(self.take_while(&destination, |_, until| until <= now));
        }
        taken
    }

    /// Removes messages of a destination in the order of their ends while `matches(taken so far, end)` is true.
    fn take_while(
        &mut self,
        destination: &str,
        matches: impl Fn(usize, Timestamp) -> bool,
    ) -> Vec<(MessageId, IndexEntry)> {
        let mut taken = Vec::new();
        while let Some((until, id)) = self.lists.get(destination).and_then(BTreeSet::first) {
            if !matches(taken.len(), *until) {
                break;
            }
            let id = *id;
            match self.take(id) {
                Some(entry) => taken.push((id, entry)),
                None => break,
            }
        }
        taken
    }

    pub fn destinations(&self) -> Vec<Arc<str>> {
        self.lists.keys().cloned().collect()
    }

    /// Returns the destinations that a message waits for, joined with commas.
    pub fn destination_of(&self, id: MessageId) -> Option<String> {
        let waiting = self.by_id.get(&id)?;
        Some(waiting.destinations.join(", "))
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index_entry::StateKind;

    #[test]
    fn message_waits_for_any_of_its_destinations_and_is_taken_once() {
        let mut waiting = WaitingByDestination::default();
        let entry = IndexEntry {
            kind: StateKind::Queued,
            due: Timestamp(1),
        };
        let [both, other] = [MessageId::generate(), MessageId::generate()];
        waiting.add(both, entry, &["a", "b", "a"], Timestamp(5));
        waiting.add(other, entry, &["b"], Timestamp(9));
        assert_eq!(waiting.destination_of(both).as_deref(), Some("a, b"));
        assert_eq!(waiting.take_first("a", 10).len(), 1);
        assert_eq!((waiting.len(), waiting.destinations().len()), (1, 1));
        assert_eq!(waiting.take_first("b", 10), [(other, entry)]);
        assert_eq!((waiting.len(), waiting.destinations().len()), (0, 0));
        assert_eq!(waiting.take(both), None);
    }
}
