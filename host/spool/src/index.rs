//! The index: due, waiting and parked messages, with counts. In memory, built from the records at open.

use std::collections::{BTreeMap, HashMap, HashSet};

use host_mail::{MessageId, Timestamp};

use crate::index_entry::{IndexEntry, StateKind};
use crate::state_counts::Counts;
use crate::waiting::WaitingByDestination;

/// The effect of a lease on the message.
#[derive(Debug, Clone, Copy)]
pub(super) enum LeaseOutcome {
    /// The record is unchanged; the due time may be later.
    GivenBack(IndexEntry),
    /// The message has a new record.
    Replaced(IndexEntry),
    /// The message has left the spool.
    Removed,
    /// The record could not be read.
    SetAside,
    /// The message waits for a destination, see [`Index::add_waiting`].
    Waiting,
}

/// Messages by due time, by destination and by id. A message is in exactly one place: in `due`, in `waiting`, in
/// `parked`, or under the lease of a [`crate::lease::Lease`].
#[derive(Debug, Default)]
pub(super) struct Index {
    due: BTreeMap<(Timestamp, MessageId), StateKind>,
    /// True if the next claim takes the newest due message, false if the oldest.
    newest_next: bool,
    waiting: WaitingByDestination,
    parked: HashMap<MessageId, StateKind>,
    /// Messages that an operator has released and that were not claimed since.
    released: HashSet<MessageId>,
    counts: Counts,
    /// Bytes of bodies that belong to a message.
    bodies: u64,
}

impl Index {
    /// Adds a message with `head` bytes of body.
    pub fn add(&mut self, id: MessageId, entry: IndexEntry, head: u64) {
        *self.count(entry.kind) += 1;
        self.bodies += head;
        self.insert(id, entry);
    }

    pub fn count_set_aside(&mut self, added: u64) {
        self.counts.set_aside += added;
    }

    pub fn forget_set_aside(&mut self) {
        self.counts.set_aside = self.counts.set_aside.saturating_sub(1);
    }

    /// Takes up to `at_most` messages due at `now`, alternately the oldest and the newest, so that neither a backlog
    /// nor new mail delays the other. A lease must follow for each.
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

    /// Takes the message that has this entry, due or not, and returns the entry under which the index counts it: the
    /// kind may be another one, if the record has changed since it was read. A lease must follow. `None` if the message
    /// holds a lease, is postponed, or is not in the index.
    pub fn acquire(&mut self, id: MessageId, entry: IndexEntry) -> Option<IndexEntry> {
        let due = entry.due;
        let found = if entry.kind.is_claimable() {
            let queued = self.due.remove(&(due, id)).map(|kind| IndexEntry { kind, due });
            queued.or_else(|| self.waiting.take(id))
        } else {
            self.parked.remove(&id).map(|kind| IndexEntry { kind, due })
        };
        self.counts.claimed += u64::from(found.is_some());
        found
    }

    /// Ends the lease on a message that [`Self::claim`] or [`Self::acquire`] took. `was` is the kind that the message
    /// was taken under, `head` the bytes of body.
    pub fn end_lease(&mut self, id: MessageId, was: StateKind, head: u64, outcome: LeaseOutcome) {
        self.counts.claimed = self.counts.claimed.saturating_sub(1);
        match outcome {
            LeaseOutcome::GivenBack(entry) => return self.insert(id, entry),
            LeaseOutcome::Waiting => return,
            _ => {}
        }
        let count = self.count(was);
        *count = count.saturating_sub(1);
        match outcome {
            LeaseOutcome::GivenBack(_) | LeaseOutcome::Waiting => {}
            LeaseOutcome::Replaced(entry) => {
                *self.count(entry.kind) += 1;
                self.insert(id, entry);
            }
            LeaseOutcome::Removed => self.bodies = self.bodies.saturating_sub(head),
            LeaseOutcome::SetAside => {
                self.counts.set_aside += 1;
                self.bodies = self.bodies.saturating_sub(head);
            }
        }
    }

    /// Files a leased message under destinations. [`LeaseOutcome::Waiting`] must end the lease.
    pub fn add_waiting(&mut self, id: MessageId, entry: IndexEntry, destinations: &[&str], expires: Timestamp) {
        self.waiting.add(id, entry, destinations, expires);
    }

    /// Marks a message as released until the next claim.
    pub fn mark_released(&mut self, id: MessageId) {
        self.released.insert(id);
    }

    /// Removes the mark of [`Self::mark_released`]; false without a mark.
    pub fn take_released(&mut self, id: MessageId) -> bool {
        !self.released.is_empty() && self.released.remove(&id)
    }

    /// Makes a queued or failing message due at `now` that waits or is due later. False if the message holds a lease or
    /// is due already.
    pub fn hasten(&mut self, id: MessageId, entry: IndexEntry, now: Timestamp) -> bool {
        let is_later = entry.kind.is_claimable() && entry.due > now && self.due.remove(&(entry.due, id)).is_some();
        let found = is_later || self.waiting.take(id).is_some();
        if found {
            self.insert(id, IndexEntry { due: now, ..entry });
        }
        found
    }

    /// Makes up to `at_most` messages due that wait for this destination; returns the number.
    pub fn wake(&mut self, destination: &str, at_most: usize) -> usize {
        let woken = self.waiting.take_first(destination, at_most);
        self.make_due(woken)
    }

    /// Makes every message due that waits for this destination, released as by an operator; returns the number.
    pub fn release_waiting(&mut self, destination: &str) -> usize {
        let woken = self.waiting.take_first(destination, usize::MAX);
        self.released.extend(woken.iter().map(|(id, _)| *id));
        self.make_due(woken)
    }

    /// Makes every waiting message due that has expired at `now`; returns the number.
    pub fn wake_expired(&mut self, now: Timestamp) -> usize {
        let woken = self.waiting.take_expired(now);
        self.make_due(woken)
    }

    fn make_due(&mut self, woken: Vec<(MessageId, IndexEntry)>) -> usize {
        let count = woken.len();
        woken.into_iter().for_each(|(id, entry)| self.insert(id, entry));
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

    fn insert(&mut self, id: MessageId, entry: IndexEntry) {
        if entry.kind.is_claimable() {
            self.due.insert((entry.due, id), entry.kind);
        } else {
            self.parked.insert(id, entry.kind);
        }
    }

    fn count(&mut self, kind: StateKind) -> &mut u64 {
        match kind {
            StateKind::Queued => &mut self.counts.queued,
            StateKind::Failing => &mut self.counts.failing,
            StateKind::Quarantined => &mut self.counts.quarantined,
            StateKind::Frozen => &mut self.counts.frozen,
        }
    }
}
