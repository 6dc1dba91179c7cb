//! Messages that are due earlier than their record says.

use host_mail::Timestamp;

use crate::Spool;
use crate::index_entry::IndexEntry;
use crate::message::Message;
use crate::spool_error::PutError;
use crate::store_edit::StoreTable;
use crate::store_scan::id_of;
use crate::stored_record::Stored;

impl Spool {
    /// Makes every message due now that waits for this destination, released as by an operator; returns the number.
    pub fn release_waiting(&self, destination: &str) -> usize {
        let shared = &self.inner.shared;
        let released = shared.index().release_waiting(destination);
        if released > 0 {
            shared.changed.notify_one();
        }
        released
    }

    /// Makes every queued message due now that waits or is due later and for which `is_meant` is true; returns the
    /// number. In memory only: after a restart the records count again. Reads all records, and blocks.
    pub fn hasten(&self, is_meant: impl Fn(&Message) -> bool) -> Result<u64, PutError> {
        let (shared, now) = (&self.inner.shared, Timestamp::now());
        let mut hastened = 0;
        for item in shared.store.scan(StoreTable::Messages, None, true) {
            let (key, value) = item.map_err(PutError::Store)?;
            let Some(id) = id_of(&key) else { continue };
            let Ok(stored) = Stored::decode(id, value.as_deref().unwrap_or_default()) else {
                continue;
            };
            if is_meant(&stored.message) && shared.index().hasten(id, IndexEntry::from(&stored), now) {
                hastened += 1;
            }
        }
        if hastened > 0 {
            shared.changed.notify_one();
        }
        Ok(hastened)
    }
}
