//! The right to work on one message. Whatever happens, it ends by giving the message back or by
//! saying what became of it.

use std::sync::Arc;
use std::time::Duration;

use super::index::{IndexEntry, Kind, LeaseOutcome};
use super::shared::Shared;
use host_mail::{MessageId, Timestamp};

pub(super) struct Lease {
    shared: Arc<Shared>,
    id: MessageId,
    was: Kind,
    outcome: LeaseOutcome,
    /// Bytes that leave `bodies` with the message.
    head: u64,
}

impl Lease {
    pub fn new(shared: Arc<Shared>, id: MessageId, place: IndexEntry) -> Self {
        Self {
            shared,
            id,
            was: place.kind,
            outcome: LeaseOutcome::GivenBack(place),
            head: 0,
        }
    }

    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Given back, it will not be due before this long from now: for what fails at once each time.
    pub fn postpone(&mut self, by: Duration) {
        if let LeaseOutcome::GivenBack(place) = &mut self.outcome {
            place.due = Timestamp::now().after(by);
        }
    }

    /// Given back, it is due as its record says.
    pub fn as_before(&mut self, place: IndexEntry) {
        self.outcome = LeaseOutcome::GivenBack(place);
    }

    /// Given back, it is due when its destination can be reached, or when it expires.
    pub fn waits(mut self, place: IndexEntry, destination: &str, expires: Timestamp) {
        self.shared.index().wait(self.id, place, destination, expires);
        self.outcome = LeaseOutcome::Waits;
    }

    /// It has a new record.
    pub fn became(mut self, place: IndexEntry) {
        self.outcome = LeaseOutcome::Became(place);
    }

    /// It has left; `head` bytes of `bodies` with it.
    pub fn gone(mut self, head: u64) {
        self.head = head;
        self.outcome = LeaseOutcome::Gone;
    }

    /// Its record is now among those set aside.
    pub fn set_aside(mut self) {
        self.outcome = LeaseOutcome::SetAside;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.index().end(self.id, self.was, self.head, self.outcome);
        // What has left is nobody's work any more.
        if matches!(self.outcome, LeaseOutcome::GivenBack(_) | LeaseOutcome::Became(_)) {
            self.shared.changed.notify_one();
        }
    }
}
