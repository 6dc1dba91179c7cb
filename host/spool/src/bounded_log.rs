//! A bounded log in the spool's store: entries sorted by key, which never delay mail.
//!
//! Entries are not synced singly: after a crash the last entries may be missing.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::shared::Shared;
use crate::spool_error::PutError;

/// Size and beginning of the log. A removed entry leaves a tombstone in the store for a while; `first` spares scanning
/// all tombstones again.
#[derive(Default)]
struct Extent {
    bytes: u64,
    /// Lower bound of all keys.
    first: String,
    measured: bool,
}

/// Key and value of an entry.
pub type Entry = (String, Bytes);

/// A handle of the log. Cheap to clone. All methods block.
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

    /// Adds entries, all or none.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] while free space is below twice the low-water mark: a write that the disk refuses would end
    /// the store.
    pub fn append(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), PutError> {
        self.shared.disk.check_spare()?;
        let mut extent = self.extent.lock();
        for (key, value) in &entries {
            extent.bytes = extent.bytes.saturating_add(weight(key.len(), value.len()));
            if *key < extent.first {
                extent.first.clone_from(key);
            }
        }
        drop(extent);
        self.shared.store.append_log(entries).map_err(PutError::Store)
    }

    /// Returns the value of an entry.
    pub fn get(&self, key: &str) -> Result<Option<Bytes>, PutError> {
        self.shared.store.log_entry(key).map_err(PutError::Store)
    }

    /// Iterates over the entries from a key on, in order.
    pub fn scan(&self, from: &str) -> impl Iterator<Item = Result<Entry, PutError>> + use<> {
        let from = Bound::Included(from.max(&self.extent.lock().first).to_owned());
        self.shared
            .store
            .scan_log(from)
            .map(|item| item.map_err(PutError::Store))
    }

    /// Iterates over the entries from the last down to a key.
    pub fn scan_back(&self, to: &str) -> impl Iterator<Item = Result<Entry, PutError>> + use<> {
        let to = Bound::Included(to.max(&self.extent.lock().first).to_owned());
        let items = self.shared.store.scan_log(to).rev();
        items.map(|item| item.map_err(PutError::Store))
    }

    /// Removes the entries before a key, then the first entries until at most `bytes` bytes are left. Returns the
    /// number of removed entries. The first call of a handle reads the whole log.
    pub fn trim(&self, before: &str, bytes: u64) -> Result<u64, PutError> {
        self.measure()?;
        let mut removed = 0;
        loop {
            let (first, mut left) = {
                let extent = self.extent.lock();
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
            let mut extent = self.extent.lock();
            // Entries appended meanwhile are counted already, and are not among the removed ones.
            extent.bytes = left;
            extent.first = next;
        }
    }

    fn measure(&self) -> Result<(), PutError> {
        if self.extent.lock().measured {
            return Ok(());
        }
        let (mut total, mut first) = (0_u64, None);
        for item in self.shared.store.scan_log(Bound::Unbounded) {
            let (key, value) = item.map_err(PutError::Store)?;
            total = total.saturating_add(weight(key.len(), value.len()));
            first.get_or_insert(key);
        }
        let mut extent = self.extent.lock();
        *extent = Extent {
            bytes: total,
            first: first.unwrap_or_default(),
            measured: true,
        };
        Ok(())
    }
}

/// Number of entries removed in a batch.
const BATCH: usize = 1024;

fn weight(key: usize, value: usize) -> u64 {
    (key + value) as u64
}
