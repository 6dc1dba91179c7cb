//! Edits of the store.

use fjall::Slice;
use host_mail::MessageId;

use crate::integrity::totals::TotalsChange;
use crate::spool_error::PutError;
use crate::stored_record::Stored;

/// A keyspace of the store that is keyed by message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreTable {
    Messages,
    Bodies,
    SetAside,
}

/// A change of a key: `Some` inserts the value, `None` removes the key.
#[derive(Debug, Clone)]
pub(super) struct StoreEdit {
    pub table: StoreTable,
    pub id: MessageId,
    pub value: Option<Slice>,
    /// Effect on the totals; only an edit of [`StoreTable::Messages`] has one.
    pub totals: TotalsChange,
}

impl StoreEdit {
    /// Creates an edit that leaves the number of messages as it is.
    pub fn new(table: StoreTable, id: MessageId, value: Option<Slice>) -> Self {
        let totals = TotalsChange::None;
        Self {
            table,
            id,
            value,
            totals,
        }
    }

    /// Creates the edit that replaces a message's record.
    pub fn record(stored: &Stored) -> Result<Self, PutError> {
        let value = stored.encode().map_err(PutError::Store)?.into();
        Ok(Self::new(StoreTable::Messages, stored.message.id, Some(value)))
    }

    /// Creates the edit that writes the record of a message that the store does not have.
    pub fn new_record(stored: &Stored) -> Result<Self, PutError> {
        Ok(Self {
            totals: TotalsChange::Added(stored.file.map(|part| part.size)),
            ..Self::record(stored)?
        })
    }

    /// Creates the edit that removes the record of a message with a file of this size, or without a file.
    pub fn no_record(id: MessageId, file: Option<u64>) -> Self {
        Self {
            totals: TotalsChange::Removed(file),
            ..Self::new(StoreTable::Messages, id, None)
        }
    }
}
