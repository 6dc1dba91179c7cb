//! What is due, what is parked and how many there are: in memory, made from the records at open.

use std::collections::{BTreeMap, HashMap};

use super::waiting::WaitingByDestination;
use super::{Counts, State};
use crate::stored_record::Stored;
use host_mail::{MessageId, Timestamp};

/// Which count a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Queued,
    Failing,
    Quarantined,
    Frozen,
}

impl Kind {
    pub fn is_worked_on(self) -> bool {
        matches!(self, Self::Queued | Self::Failing)
    }
}

impl From<&State> for Kind {
    fn from(state: &State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Failing { .. } => Self::Failing,
            State::Quarantined { .. } => Self::Quarantined,
            State::Frozen { .. } => Self::Frozen,
        }
    }
}

/// Where a message stands in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub kind: Kind,
    pub due: Timestamp,
}

impl From<&Stored> for IndexEntry {
    fn from(stored: &Stored) -> Self {
        Self {
            kind: Kind::from(&stored.message.state),
            due: stored.message.due,
        }
    }
}

/// What became of a message that was held.
#[derive(Debug, Clone, Copy)]
pub(super) enum LeaseOutcome {
    /// Nothing; perhaps it is due later.
    GivenBack(IndexEntry),
    /// It has a new record.
    Became(IndexEntry),
    /// It is no longer in the spool.
    Gone,
    /// It could not be read.
    SetAside,
    /// It waits for its destination, see [`Index::wait`].
    Waits,
}

/// Every message is in `due`, in `waiting`, in `parked`, or held by exactly one [`crate::lease::Lease`].
#[derive(Debug, Default)]
pub(super) struct Index {
    due: BTreeMap<(Timestamp, MessageId), Kind>,
    /// Whose turn it is of what is due: the newest's or the oldest's.
    newest_next: bool,
    waiting: WaitingByDestination,
    parked: HashMap<MessageId, Kind>,
    counts: Counts,
    /// Bytes of bodies that belong to a message.
    bodies: u64,
}

impl Index {
    pub fn arrive(&mut self, id: MessageId, place: IndexEntry, head: u64) {
        *self.count(place.kind) += 1;
        self.bodies += head;
        self.insert(id, place);
    }

    pub fn count_set_aside(&mut self, how_many: u64) {
        self.counts.set_aside += how_many;
    }

    pub fn forget_set_aside(&mut self) {
        self.counts.set_aside = self.counts.set_aside.saturating_sub(1);
    }

    /// Takes what is due, by turns the oldest and the newest: neither a backlog nor what comes meanwhile is held up by
    /// the other.
    pub fn claim(&mut self, now: Timestamp, at_most: usize) -> Vec<(MessageId, IndexEntry)> {
        let mut taken = Vec::new();
        while taken.len() < at_most {
            let mut due = self.due.range(..=(now, MessageId::LAST));
            let next = if self.newest_next { due.next_back() } else { due.next() };
            let Some((&(due, id), &kind)) = next else { break };
            self.due.remove(&(due, id));
            self.newest_next = !self.newest_next;
            taken.push((id, IndexEntry { kind, due }));
        }
        self.counts.claimed += taken.len() as u64;
        taken
    }

    /// Takes one message from where its record says it stands; false if it is not there.
    pub fn hold(&mut self, id: MessageId, place: IndexEntry) -> bool {
        let found = if place.kind.is_worked_on() {
            self.due.remove(&(place.due, id)).is_some() || self.waiting.take(id).is_some()
        } else {
            self.parked.remove(&id).is_some()
        };
        self.counts.claimed += u64::from(found);
        found
    }

    /// Ends what [`Self::claim`] or [`Self::hold`] began. `was` is where the message stood.
    pub fn end(&mut self, id: MessageId, was: Kind, head: u64, outcome: LeaseOutcome) {
        self.counts.claimed = self.counts.claimed.saturating_sub(1);
        match outcome {
            LeaseOutcome::GivenBack(place) => return self.insert(id, place),
            LeaseOutcome::Waits => return,
            _ => {}
        }
        let count = self.count(was);
        *count = count.saturating_sub(1);
        match outcome {
            LeaseOutcome::GivenBack(_) | LeaseOutcome::Waits => {}
            LeaseOutcome::Became(place) => {
                *self.count(place.kind) += 1;
                self.insert(id, place);
            }
            LeaseOutcome::Gone => self.bodies = self.bodies.saturating_sub(head),
            LeaseOutcome::SetAside => self.counts.set_aside += 1,
        }
    }

    /// A message that is held will be due when its destination can be reached, and at the latest when it expires.
    pub fn wait(&mut self, id: MessageId, place: IndexEntry, destination: &str, expires: Timestamp) {
        self.waiting.add(id, place, destination, expires);
    }

    /// Makes up to so many messages due that wait for this destination; how many there were.
    pub fn wake(&mut self, destination: &str, at_most: usize) -> usize {
        let woken = self.waiting.take_some(destination, at_most);
        self.make_due(woken)
    }

    /// Makes those due that have waited too long.
    pub fn wake_expired(&mut self, now: Timestamp) -> usize {
        let woken = self.waiting.take_expired(now);
        self.make_due(woken)
    }

    fn make_due(&mut self, woken: Vec<(MessageId, IndexEntry)>) -> usize {
        let count = woken.len();
        woken.into_iter().for_each(|(id, place)| self.insert(id, place));
        count
    }

    pub fn waiting(&self) -> &WaitingByDestination {
        &self.waiting
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|((due, _), _)| *due)
    }

    pub fn counts(&self) -> Counts {
        Counts {
            waiting: self.waiting.len() as u64,
            ..self.counts.clone()
        }
    }

    pub fn bodies(&self) -> u64 {
        self.bodies
    }

    fn insert(&mut self, id: MessageId, place: IndexEntry) {
        if place.kind.is_worked_on() {
            self.due.insert((place.due, id), place.kind);
        } else {
            self.parked.insert(id, place.kind);
        }
    }

    fn count(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Queued => &mut self.counts.queued,
            Kind::Failing => &mut self.counts.failing,
            Kind::Quarantined => &mut self.counts.quarantined,
            Kind::Frozen => &mut self.counts.frozen,
        }
    }
}
