//! The index's copy of a message: kind of state and due time.

use host_mail::Timestamp;

use crate::message::State;
use crate::stored_record::Stored;

/// A [`State`] without the data. Selects the counter that a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StateKind {
    Queued,
    Failing,
    Quarantined,
    Frozen,
}

impl StateKind {
    /// True for the states that a delivery worker may claim: queued and failing.
    pub fn is_claimable(self) -> bool {
        matches!(self, Self::Queued | Self::Failing)
    }
}

impl From<&State> for StateKind {
    fn from(state: &State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Failing { .. } => Self::Failing,
            State::Quarantined { .. } => Self::Quarantined,
            State::Frozen { .. } => Self::Frozen,
        }
    }
}

/// The fields of a record by which the index files a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub kind: StateKind,
    pub due: Timestamp,
}

impl From<&Stored> for IndexEntry {
    fn from(stored: &Stored) -> Self {
        Self {
            kind: StateKind::from(&stored.message.state),
            due: stored.message.due,
        }
    }
}
