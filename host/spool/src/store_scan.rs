//! Scans of the store: ranges of keys in order, now or as of a snapshot.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use fjall::{Guard, Readable as _};
use host_mail::MessageId;

use crate::database::Database;
use crate::store_edit::StoreTable;

/// The content of the store at a moment.
pub(super) struct Snapshot {
    database: Arc<Database>,
    snapshot: fjall::Snapshot,
}

impl Snapshot {
    /// Takes a snapshot.
    pub fn of(database: Arc<Database>) -> Self {
        let snapshot = database.db.snapshot();
        Self { database, snapshot }
    }

    /// Iterates over the keys of a table after `after` in order; over all for an empty key. Values are read only if
    /// `with_values`.
    pub fn scan(&self, table: StoreTable, after: &[u8], with_values: bool) -> impl Iterator<Item = ScanItem> + use<> {
        let from = match after {
            [] => Bound::Unbounded,
            key => Bound::Excluded(key),
        };
        let range = (from, Bound::<&[u8]>::Unbounded);
        let items = self.snapshot.range::<&[u8], _>(self.database.table(table), range);
        items.map(move |guard| scanned(guard, with_values))
    }
}

/// Returns the items, or the error as the only item.
pub(super) fn or_error<T, I: DoubleEndedIterator<Item = Result<T, String>>>(
    items: Result<I, String>,
) -> impl DoubleEndedIterator<Item = Result<T, String>> {
    let (items, error) = match items {
        Ok(items) => (Some(items), None),
        Err(error) => (None, Some(Err(error))),
    };
    error.into_iter().chain(items.into_iter().flatten())
}

pub(super) fn scanned(guard: Guard, with_values: bool) -> ScanItem {
    match guard.into_inner_if(|_| with_values) {
        Ok((key, value)) => Ok((key.to_vec(), value.map(Bytes::from_owner))),
        Err(error) => Err(error.to_string()),
    }
}

/// A key and, if the scan reads values, the value.
pub(super) type ScanItem = Result<(Vec<u8>, Option<Bytes>), String>;

/// Key and value of an entry of the log.
pub(super) type LogItem = Result<(String, Bytes), String>;

/// Returns the id that a key encodes; `None` for a foreign key.
pub(super) fn id_of(key: &[u8]) -> Option<MessageId> {
    std::str::from_utf8(key).ok()?.parse().ok()
}
