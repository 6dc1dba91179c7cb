//! The lease: the exclusive right to work on a message.

use std::sync::Arc;
use std::time::Duration;

use host_mail::{MessageId, Timestamp};

use crate::index::LeaseOutcome;
use crate::index_entry::{IndexEntry, StateKind};
use crate::recent_writes::StoredMessage;
use crate::shared::Shared;

/// A lease on a message. Ends when dropped: the outcome set last is entered in the index, which by default gives
/// the message back as the index had it.
pub(super) struct Lease {
    shared: Arc<Shared>,
    id: MessageId,
    was: StateKind,
    outcome: LeaseOutcome,
    /// Bytes of bodies that leave with a message that is removed or set aside.
    head: u64,
    /// Number of events emitted before the lease, that of the message's acceptance included.
    events_before: u64,
}

impl Lease {
    /// Wraps what [`crate::index::Index::claim`] or [`crate::index::Index::acquire`] took. `entry` is the message's
    /// former entry.
    pub fn new(shared: Arc<Shared>, id: MessageId, entry: IndexEntry) -> Self {
        Self {
            events_before: shared.events.emitted(),
            shared,
            id,
            was: entry.kind,
            outcome: LeaseOutcome::GivenBack(entry),
            head: 0,
        }
    }

    pub fn id(&self) -> MessageId {
        self.id
    }

    pub fn events_before(&self) -> u64 {
        self.events_before
    }

    /// Delays a message that is given back until `by` from now. For failures that would repeat at once.
    pub fn postpone(&mut self, by: Duration) {
        if let LeaseOutcome::GivenBack(entry) = &mut self.outcome {
            entry.due = Timestamp::now().after(by);
        }
    }

    /// Gives the message back under this entry when the lease is dropped; revokes [`Self::postpone`].
    pub fn restore(&mut self, entry: IndexEntry) {
        self.outcome = LeaseOutcome::GivenBack(entry);
    }

    /// Ends the lease; the message is due when one of `destinations` is woken, or at `expires`.
    pub fn wait_for(mut self, entry: IndexEntry, destinations: &[&str], expires: Timestamp) {
        self.shared.index().add_waiting(self.id, entry, destinations, expires);
        self.outcome = LeaseOutcome::Waiting;
    }

    /// Keeps the message in memory for the next lease. The caller ends this lease without a change of the record.
    pub fn keep_in_memory(&self, message: StoredMessage) {
        self.shared.recent_writes().keep(message);
    }

    /// True, once, after an operator has released the message.
    pub fn take_released(&self) -> bool {
        self.shared.index().take_released(self.id)
    }

    /// Ends the lease of a message that has a new record.
    pub fn replaced(mut self, entry: IndexEntry) {
        self.outcome = LeaseOutcome::Replaced(entry);
    }

    /// Ends the lease of a message that has left the spool, with `head` bytes of bodies.
    pub fn removed(mut self, head: u64) {
        self.head = head;
        self.outcome = LeaseOutcome::Removed;
    }

    /// Ends the lease of a message of which the record was set aside, with `head` bytes of bodies.
    pub fn set_aside(mut self, head: u64) {
        self.head = head;
        self.outcome = LeaseOutcome::SetAside;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared
            .index()
            .end_lease(self.id, self.was, self.head, self.outcome);
        // The other outcomes leave nothing to claim.
        if matches!(self.outcome, LeaseOutcome::GivenBack(_) | LeaseOutcome::Replaced(_)) {
            self.shared.changed.notify_one();
        }
    }
}
