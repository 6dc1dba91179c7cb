//! A log in the spool's store: entries that sort by their key, bounded, and never in the way of mail.
//!
//! Entries are not synced one by one: after a crash the last ones may be missing.

use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::PutError;
use super::shared::Shared;

/// What is known of the log without reading it. An old entry that was removed leaves a mark in the
/// store for a while; `first` spares going over all of them again.
#[derive(Default)]
struct Extent {
    bytes: u64,
    /// Nothing is before it.
    first: String,
    measured: bool,
}

/// An entry: its key and its value.
pub type Entry = (String, Bytes);

/// Cheap to clone.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
    extent: Arc<Mutex<Extent>>,
}

impl Log {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            extent: Arc::default(),
        }
    }

    /// Adds entries, all or none. While the disk has less than twice the room that mail needs there is
    /// none for them ([`PutError::Full`]): a write that the disk refuses would be the end of the store.
    pub fn append(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), PutError> {
        self.shared.disk.check_spare()?;
        let mut extent = self.extent();
        for (key, value) in &entries {
            extent.bytes = extent.bytes.saturating_add(weight(key.len(), value.len()));
            if *key < extent.first {
                extent.first.clone_from(key);
            }
        }
        drop(extent);
        self.shared.store.append_log(entries).map_err(PutError::Store)
    }

    /// One entry.
    pub fn get(&self, key: &str) -> Result<Option<Bytes>, PutError> {
        self.shared.store.log_entry(key).map_err(PutError::Store)
    }

    /// Entries from a key on, in order.
    pub fn scan(&self, from: &str) -> impl Iterator<Item = Result<Entry, PutError>> + use<> {
        let from = Bound::Included(from.max(&self.extent().first).to_owned());
        self.shared
            .store
            .scan_log(from)
            .map(|item| item.map_err(PutError::Store))
    }

    /// Entries down to a key, the last one first.
    pub fn scan_back(&self, to: &str) -> impl Iterator<Item = Result<Entry, PutError>> + use<> {
        let to = Bound::Included(to.max(&self.extent().first).to_owned());
        let items = self.shared.store.scan_log(to).rev();
        items.map(|item| item.map_err(PutError::Store))
    }

    /// Removes what is before a key, and then the first entries until no more than so many bytes are
    /// left; returns how many entries that were. The first time the whole log is read.
    pub fn trim(&self, before: &str, bytes: u64) -> Result<u64, PutError> {
        self.measure()?;
        let mut removed = 0;
        loop {
            let (first, mut left) = {
                let extent = self.extent();
                (extent.first.clone(), extent.bytes)
            };
            let mut keys = Vec::new();
            let mut next = first.clone();
            for item in self.shared.store.scan_log(Bound::Included(first)) {
                let (key, value) = item.map_err(PutError::Store)?;
                next.clone_from(&key);
                if (key.as_str() >= before && left <= bytes) || keys.len() == BATCH {
                    break;
                }
                left = left.saturating_sub(weight(key.len(), value.len()));
                keys.push(key);
            }
            if keys.is_empty() {
                return Ok(removed);
            }
            removed += keys.len() as u64;
            self.shared.store.remove_log(keys).map_err(PutError::Store)?;
            let mut extent = self.extent();
            // Entries that came meanwhile are counted already, and are not among those removed.
            extent.bytes = left;
            extent.first = next;
        }
    }

    fn measure(&self) -> Result<(), PutError> {
        if self.extent().measured {
            return Ok(());
        }
        let (mut total, mut first) = (0_u64, None);
        for item in self.shared.store.scan_log(Bound::Unbounded) {
            let (key, value) = item.map_err(PutError::Store)?;
            total = total.saturating_add(weight(key.len(), value.len()));
            first.get_or_insert(key);
        }
        let mut extent = self.extent();
        *extent = Extent {
            bytes: total,
            first: first.unwrap_or_default(),
            measured: true,
        };
        Ok(())
    }

    fn extent(&self) -> std::sync::MutexGuard<'_, Extent> {
        self.extent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries removed at once.
const BATCH: usize = 1024;

fn weight(key: usize, value: usize) -> u64 {
    (key + value) as u64
}
