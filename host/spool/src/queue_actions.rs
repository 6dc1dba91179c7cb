//! What the spool does with one message that nobody else works on.

use std::sync::Arc;
use std::time::Duration;

use super::claim::Claim;
use super::draft::record_edit;
use super::index::IndexEntry;
use super::janitor::CleanupTask;
use super::shared::Shared;
use super::store::{StoreEdit, StoreTable};
use super::writer::{SpoolWriter, WriteResult};
use super::{Message, PutError};
use crate::lease::Lease;
use crate::stored_record::{SetAside, Stored};
use host_events::Event;
use host_mail::MessageId;

/// A message that could not be read is looked at again after this.
const UNREADABLE: Duration = Duration::from_secs(60);

/// What all clones of a spool share.
pub(super) struct SpoolCore {
    pub shared: Arc<Shared>,
    pub writer: SpoolWriter,
}

impl SpoolCore {
    /// What is held becomes a claim, unless it cannot be read.
    pub(super) fn claim(&self, mut held: Lease) -> Option<Claim> {
        let (id, store) = (held.id(), &self.shared.store);
        if let Some((stored, head)) = self.shared.fresh().take(id) {
            return Some(Claim::fresh(store, stored, head, held));
        }
        held.postpone(UNREADABLE);
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
                held.as_before(IndexEntry::from(&stored));
                Some(Claim::new(store, stored, held))
            }
            Ok((record, Err(reason))) => {
                self.set_aside(held, &record, reason);
                None
            }
            Err(error) => {
                let message = id.to_string();
                self.shared.events.emit(Event::MessageNotProcessed { message, error });
                None
            }
        }
    }

    /// The record as it is now, and the right to change it; none if somebody else has that.
    pub(super) fn hold(&self, id: MessageId) -> Result<Option<(Stored, Lease)>, PutError> {
        let Some(seen) = self.stored(id)? else {
            return Ok(None);
        };
        let place = IndexEntry::from(&seen);
        if !self.shared.index().hold(id, place) {
            return Ok(None);
        }
        let held = Lease::new(self.shared.clone(), id, place);
        self.shared.fresh().take(id);
        // It may have been settled between the look and the grip.
        Ok(self.stored(id)?.map(|stored| (stored, held)))
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

    pub(super) fn replace(
        &self,
        held: Lease,
        stored: &Stored,
        next: Message,
        mut edits: Vec<StoreEdit>,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<WriteResult, PutError> {
        if next.id != held.id() {
            return Err(PutError::Store(format!("{} was to become {}", held.id(), next.id)));
        }
        let next = stored.with(next);
        edits.push(record_edit(&next)?);
        let place = IndexEntry::from(&next);
        Ok(self.writer.submit(edits, move || {
            then();
            held.became(place);
        }))
    }

    pub(super) fn remove(
        &self,
        held: Lease,
        stored: &Stored,
        mut edits: Vec<StoreEdit>,
        then: impl FnOnce() + Send + 'static,
    ) -> WriteResult {
        let (id, head) = (held.id(), stored.head);
        let alone = edits.is_empty();
        edits.push(StoreEdit {
            table: StoreTable::Messages,
            id,
            value: None,
        });
        if head > 0 {
            edits.push(StoreEdit {
                table: StoreTable::Bodies,
                id,
                value: None,
            });
        }
        let shared = self.shared.clone();
        let file = stored.file.map(|_| shared.store.large_file(id));
        let then = move || {
            then();
            held.gone(head);
            if let Some(path) = file {
                let _ = shared.janitor.send(CleanupTask::Unlink(path));
            }
        };
        match alone {
            true => self.writer.submit_patiently(edits, then),
            false => self.writer.submit(edits, then),
        }
    }

    /// Nobody waits for this: if it fails, the message is met again.
    pub(super) fn set_aside(&self, held: Lease, record: &[u8], reason: String) {
        let id = held.id();
        let Ok(value) = serde_json::to_vec(&SetAside::new(&reason, record)) else {
            return;
        };
        let edits = vec![
            StoreEdit {
                table: StoreTable::SetAside,
                id,
                value: Some(value.into()),
            },
            StoreEdit {
                table: StoreTable::Messages,
                id,
                value: None,
            },
        ];
        let events = self.shared.events.clone();
        drop(self.writer.submit(edits, move || {
            held.set_aside();
            events.emit(Event::SpoolEntrySetAside {
                message: id.to_string(),
                error: reason,
            });
        }));
    }

    pub(super) async fn delete_set_aside(&self, id: MessageId) -> Result<bool, PutError> {
        let shared = self.shared.clone();
        let known = shared.store.value(StoreTable::SetAside, id).map_err(PutError::Store)?;
        if known.is_none() {
            return Ok(false);
        }
        let edits = [StoreTable::SetAside, StoreTable::Bodies].map(|table| StoreEdit { table, id, value: None });
        let answer = self.writer.submit(edits.into(), move || {
            shared.index().forget_set_aside();
            let file = shared.store.large_file(id);
            if file.exists() {
                let _ = shared.janitor.send(CleanupTask::Unlink(file));
            }
        });
        answer.wait().await.map(|()| true)
    }
}
