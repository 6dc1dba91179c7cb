//! Actions on a message under a lease: claim, replace, remove, set aside.

use std::sync::Arc;
use std::time::Duration;

use host_events::Event;
use host_mail::{MessageId, Timestamp};

use crate::claim::Claim;
use crate::index_entry::IndexEntry;
use crate::janitor::cleanup_task::CleanupTask;
use crate::lease::Lease;
use crate::message::Message;
use crate::shared::Shared;
use crate::spool_error::PutError;
use crate::store_edit::{StoreEdit, StoreTable};
use crate::stored_record::{SetAside, Stored};
use crate::writer::{SpoolWriter, WriteResult};

/// Delay before the next claim of a message after the store failed to read the record.
const READ_RETRY_DELAY: Duration = Duration::from_secs(60);

/// State shared by all clones of a spool.
pub(super) struct SpoolCore {
    pub shared: Arc<Shared>,
    pub writer: SpoolWriter,
}

impl SpoolCore {
    /// Checks that the store takes batches.
    pub(super) fn check_room(&self) -> Result<(), PutError> {
        match self.shared.store.is_full() {
            true => Err(self.shared.disk.full()),
            false => Ok(()),
        }
    }

    /// Takes a lease on each of up to `at_most` due messages, and reads them.
    pub(super) fn claim_due(&self, now: Timestamp, at_most: usize) -> Vec<Claim> {
        if self.shared.store.is_full() {
            // A delivery could not be settled.
            return Vec::new();
        }
        let taken = self.shared.index().claim(now, at_most);
        let leases = taken
            .into_iter()
            .map(|(id, entry)| Lease::new(self.shared.clone(), id, entry));
        leases.filter_map(|lease| self.claim(lease)).collect()
    }

    /// Reads a leased message. A record that is damaged or lacks its bytes is set aside (5016); a store that cannot be
    /// read postpones the message. `None` in both cases.
    fn claim(&self, mut lease: Lease) -> Option<Claim> {
        let (id, store) = (lease.id(), &self.shared.store);
        if let Some((stored, head)) = self.shared.recent_writes().take(id) {
            return Some(Claim::with_head(store, stored, head, lease));
        }
        lease.postpone(READ_RETRY_DELAY);
        let read = store.value(StoreTable::Messages, id).and_then(|record| {
            let record = record.unwrap_or_default();
            let checked = match Stored::decode(id, &record) {
                Err(reason) => Err(reason),
                Ok(stored) => match store.missing(&stored)? {
                    Some(reason) => Err(reason),
                    None => Ok(stored),
                },
            };
            Ok((record, checked))
        });
        match read {
            Ok((_, Ok(stored))) => {
                lease.restore(IndexEntry::from(&stored));
                Some(Claim::new(store, Box::new(stored), lease))
            }
            Ok((record, Err(reason))) => {
                self.set_aside(lease, &record, reason);
                None
            }
            Err(error) => {
                let message = id.to_string();
                self.shared.events.emit(Event::MessageNotProcessed { message, error });
                None
            }
        }
    }

    /// Takes the lease on a message and reads its current record. `None` if the spool has no such message or the
    /// message holds a lease already.
    pub(super) fn acquire(&self, id: MessageId) -> Result<Option<(Stored, Lease)>, PutError> {
        let Some(seen) = self.stored(id)? else {
            return Ok(None);
        };
        let Some(entry) = self.shared.index().acquire(id, IndexEntry::from(&seen)) else {
            return Ok(None);
        };
        let lease = Lease::new(self.shared.clone(), id, entry);
        self.shared.recent_writes().take(id);
        // Read again: the message may have been settled between the first read and the lease.
        Ok(self.stored(id)?.map(|stored| (stored, lease)))
    }

    pub(super) fn stored(&self, id: MessageId) -> Result<Option<Stored>, PutError> {
        let record = self
            .shared
            .store
            .value(StoreTable::Messages, id)
            .map_err(PutError::Store)?;
        record
            .map(|record| Stored::decode(id, &record))
            .transpose()
            .map_err(|error| PutError::Store(format!("{id}: {error}")))
    }

    /// Submits the settlement of a claim, in a batch with `edits`. `on_written` runs after the sync, before the lease
    /// ends.
    pub(super) fn settle(
        &self,
        claim: Claim,
        next: Option<Message>,
        edits: Vec<StoreEdit>,
        on_written: impl FnOnce() + Send + 'static,
    ) -> Result<WriteResult, PutError> {
        let Claim { stored, lease, .. } = claim;
        match next {
            Some(next) => self.replace(lease, &stored, next, edits, on_written),
            None => Ok(self.remove(lease, &stored, edits, on_written)),
        }
    }

    /// Submits a new record for a leased message, in a batch with `edits`. `on_written` runs after the sync, before
    /// the lease ends.
    fn replace(
        &self,
        lease: Lease,
        stored: &Stored,
        next: Message,
        mut edits: Vec<StoreEdit>,
        on_written: impl FnOnce() + Send + 'static,
    ) -> Result<WriteResult, PutError> {
        if next.id != lease.id() {
            return Err(PutError::Store(format!("{} was to become {}", lease.id(), next.id)));
        }
        let next = stored.with_message(next);
        edits.push(StoreEdit::record(&next)?);
        let entry = IndexEntry::from(&next);
        Ok(self.writer.submit(edits, move || {
            on_written();
            lease.replaced(entry);
        }))
    }

    /// Submits the removal of a leased message, in a batch with `edits`; without `edits` at low priority. The spill
    /// file is unlinked after the sync.
    pub(super) fn remove(
        &self,
        lease: Lease,
        stored: &Stored,
        mut edits: Vec<StoreEdit>,
        on_written: impl FnOnce() + Send + 'static,
    ) -> WriteResult {
        let (id, head, after_events) = (lease.id(), stored.head, lease.events_before());
        let alone = edits.is_empty();
        edits.push(StoreEdit::no_record(id, stored.file.map(|part| part.size)));
        if head > 0 {
            edits.push(StoreEdit::new(StoreTable::Bodies, id, None));
        }
        let shared = self.shared.clone();
        let file = stored.file.map(|_| shared.store.large_file(id));
        let on_written = move || {
            on_written();
            lease.removed(head);
            if let Some(path) = file {
                let _ = shared.janitor.send(CleanupTask::Unlink(path));
            }
        };
        self.writer.submit_removal(alone, after_events, edits, on_written)
    }

    /// Submits the move of a record to the set-aside keyspace (5016) without waiting for the result. On an error the
    /// lease gives the message back, and a later claim finds the damage again.
    pub(super) fn set_aside(&self, lease: Lease, record: &[u8], reason: String) {
        let id = lease.id();
        let Ok(value) = serde_json::to_vec(&SetAside::new(&reason, record)) else {
            return;
        };
        let store = &self.shared.store;
        let (head, file) = match Stored::decode(id, record) {
            Ok(stored) => (stored.head, stored.file.map(|part| part.size)),
            Err(_) => {
                let body = store.value(StoreTable::Bodies, id).ok().flatten();
                let file = std::fs::metadata(store.large_file(id)).ok();
                (body.map_or(0, |body| body.len() as u64), file.map(|file| file.len()))
            }
        };
        let edits = vec![
            StoreEdit::new(StoreTable::SetAside, id, Some(value.into())),
            StoreEdit::no_record(id, file),
        ];
        let (shared, events) = (self.shared.clone(), self.shared.events.clone());
        drop(self.writer.submit(edits, move || {
            lease.set_aside(head);
            shared.set_aside.notify_one();
            events.emit(Event::SpoolEntrySetAside {
                message: id.to_string(),
                error: reason,
            });
        }));
    }

    /// Removes a record that was set aside, the body and the spill file. False if there is none.
    pub(super) async fn delete_set_aside(&self, id: MessageId) -> Result<bool, PutError> {
        let shared = self.shared.clone();
        let Some(reserved) = shared.reserve_known(id) else {
            return Ok(false);
        };
        if self.set_aside_record(id)?.is_none() {
            return Ok(false);
        }
        let edits = [StoreTable::SetAside, StoreTable::Bodies].map(|table| StoreEdit::new(table, id, None));
        let answer = self.writer.submit(edits.into(), move || {
            shared.index().forget_set_aside();
            let file = shared.store.large_file(id);
            if file.exists() {
                let _ = shared.janitor.send(CleanupTask::Unlink(file));
            }
            drop(reserved);
        });
        answer.wait().await.map(|()| true)
    }

    /// Puts a message back that was set aside, due now, if its record and bytes are whole. False if there is none.
    pub(super) async fn release_set_aside(&self, id: MessageId) -> Result<bool, PutError> {
        let shared = self.shared.clone();
        let Some(reserved) = shared.reserve_known(id) else {
            return Ok(false);
        };
        let Some(record) = self.set_aside_record(id)? else {
            return Ok(false);
        };
        let still = |reason: String| PutError::Store(format!("{id} cannot be released: {reason}"));
        let stored = record.stored(id).map_err(still)?;
        if let Some(reason) = shared.store.missing(&stored).map_err(still)? {
            return Err(still(reason));
        }
        let released = stored.released(Timestamp::now());
        let entry = IndexEntry::from(&released);
        let edits = vec![
            StoreEdit::new(StoreTable::SetAside, id, None),
            StoreEdit::new_record(&released)?,
        ];
        let answer = self.writer.submit(edits, move || {
            let mut index = shared.index();
            index.forget_set_aside();
            index.add(id, entry, released.head);
            drop(index);
            shared.changed.notify_one();
            drop(reserved);
        });
        answer.wait().await.map(|()| true)
    }

    /// Reads a record that was set aside; `None` if there is none.
    pub(super) fn set_aside_record(&self, id: MessageId) -> Result<Option<SetAside>, PutError> {
        let record = self
            .shared
            .store
            .value(StoreTable::SetAside, id)
            .map_err(PutError::Store)?;
        let decode = |record: bytes::Bytes| serde_json::from_slice(&record);
        record
            .map(decode)
            .transpose()
            .map_err(|error| PutError::Store(format!("{id} was set aside: {error}")))
    }
}
