//! The spool: durable put, claim and settle. A client gets the 250 after the put has returned.
//!
//! `docs/internals/spool.md` has the table of states and the effect of a crash in each.

mod bounded_log;
mod buffer_budget;
mod claim;
mod database;
mod database_slot;
mod disk_space;
mod draft;
mod hasten;
mod index;
mod index_entry;
mod integrity;
mod janitor;
mod lease;
mod message;
mod open_store;
mod queue_actions;
mod recent_writes;
mod recovery;
mod removed_files;
mod set_aside;
mod shared;
mod spill;
mod spool_error;
mod spool_mark;
mod spool_options;
mod state_counts;
mod store;
mod store_edit;
mod store_folder;
mod store_scan;
mod stored_content;
mod stored_record;
mod waiting;
mod write_latency;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use host_events::{Event, Events, RecentlyAccepted};
use host_mail::{Content, MessageId, Timestamp};

use crate::disk_space::Disk;
use crate::draft::DraftCleanup;
use crate::index_entry::IndexEntry;
use crate::open_store::open_store;
use crate::queue_actions::SpoolCore;
use crate::shared::Shared;
use crate::store_edit::{StoreEdit, StoreTable};
use crate::store_scan::id_of;
use crate::stored_record::Stored;
use crate::writer::{SpoolWriter, Submission};

pub use crate::bounded_log::{Entry, Log};
pub use claim::Claim;
pub use disk_space::ReservedSpace;
pub use draft::Draft;
pub use integrity::check_spool::{CheckedSpool, check_spool};
pub use message::{Failed, Message, Recipient, RecipientState, State, Success, SuccessAction};
pub use recovery::Recovery;
pub use set_aside::SetAsideMessage;
pub use spool_error::{Damage, OpenError, PutError};
pub use spool_options::{OnDamage, SpoolOptions};
pub use state_counts::Counts;

/// The selection of messages that [`Spool::list`] returns.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    /// `queued`, `failing`, `quarantined` or `frozen`; `None` lists every state.
    pub state: Option<String>,
    /// Id after which the page begins; `None` begins with the first message.
    pub after: Option<MessageId>,
    /// Maximum number of messages in the page.
    pub limit: usize,
}

/// Bytes reserved for a message of unknown size, in which most messages fit.
const MIN_RESERVED: u64 = 16 * 1024;
/// Maximum number of records that a call of [`Spool::list`] reads.
const MAX_SCANNED: usize = 10_000;

/// A page of messages.
#[derive(Debug, Default)]
pub struct Listed {
    /// Messages in order of arrival. May be empty although later pages have some.
    pub messages: Vec<Message>,
    /// Value of [`ListFilter::after`] for the next page; `None` on the last page.
    pub next: Option<MessageId>,
}

/// A message and the bytes.
pub type Found = (Message, Arc<dyn Content>);

/// A handle of the message store. Cheap to clone; dropping the last clone closes the store.
#[derive(Clone)]
pub struct Spool {
    inner: Arc<SpoolCore>,
}

impl Spool {
    /// Opens the folder and recovers all left-overs of the last run (5015, 5016). Blocks.
    pub fn open(path: &Path, options: SpoolOptions, events: Events) -> Result<Self, OpenError> {
        let (spool, recovery) = Self::begin(path, options, events)?;
        let recovered = recovery.run(&RecentlyAccepted::default());
        if recovered.is_err()
            && let Some(thread) = spool.inner.writer.stop()
        {
            // The store is closed when the call returns.
            let _ = thread.join();
        }
        recovered.map(|()| spool)
    }

    /// Opens the folder without recovering the left-overs of the last run, which [`Recovery::run`] does.
    ///
    /// The spool is usable during recovery: puts are as durable as ever, [`Self::list`] and [`Self::get`] find every
    /// message, the counts grow, and [`Self::release`] and [`Self::delete`] wait for the end of recovery.
    ///
    /// # Errors
    ///
    /// [`OpenError::Damaged`] if a part of the spool is missing, or the whole folder although [`SpoolOptions::mark`]
    /// exists, unless [`OnDamage::Salvage`] accepts that.
    pub fn begin(path: &Path, options: SpoolOptions, events: Events) -> Result<(Self, Recovery), OpenError> {
        let lost = spool_mark::lost_spool(path, &options)?;
        if let Some(lost) = lost.clone().filter(|_| options.on_damage == OnDamage::Refuse) {
            return Err(OpenError::Damaged(vec![lost]));
        }
        let mut opened = open_store(path, options.on_damage, &events)?;
        if let Some(lost) = lost {
            opened.salvaged = Some((vec![lost], removed_files::damaged(path)));
        }
        spool_mark::set_mark(&options);
        if let Some((damage, kept)) = &opened.salvaged {
            events.emit(Event::SpoolSalvaged {
                damage: damage.iter().map(ToString::to_string).collect(),
                kept: kept.display().to_string(),
            });
        }
        let store = opened.store.clone();
        let failed = |error: std::io::Error| OpenError::Store(error.to_string());
        let disk = Disk::new(path.to_owned(), options.low_water, events.clone());
        let (janitor, tasks) = mpsc::channel();
        let shared = Arc::new(Shared::new(store, disk, &options, events, janitor));
        // Recovery takes its snapshot before this run writes anything into the folder.
        let recovery = Recovery::new(shared.clone(), &opened, options.on_damage).map_err(OpenError::Store)?;
        let writer = SpoolWriter::start(
            shared.store.clone(),
            shared.active_drafts.clone(),
            shared.events.clone(),
        )
        .map_err(failed)?;
        janitor::start(&shared, tasks).map_err(failed)?;
        let inner = Arc::new(SpoolCore { shared, writer });
        Ok((Self { inner }, recovery))
    }

    /// True after recovery has read every left-over of the last run.
    pub fn is_recovered(&self) -> bool {
        self.inner.shared.recovered.initialized()
    }

    /// Returns the log that the store keeps beside the messages. Every method of the log blocks.
    pub fn log(&self) -> Log {
        Log::new(self.inner.shared.clone())
    }

    /// Checks that a transaction may begin: the disk has room and the write latency is within the limit.
    pub fn check(&self) -> Result<(), PutError> {
        self.inner.check_room()?;
        self.inner.shared.disk.check()?;
        self.inner.shared.write_latency.check()
    }

    /// Reserves room on the disk for a message of `size` bytes, beyond the low-water mark and all other reservations.
    /// Checks the write latency like [`Self::check`].
    pub fn reserve(&self, size: Option<u64>) -> Result<ReservedSpace, PutError> {
        self.inner.check_room()?;
        let reserved = self
            .inner
            .shared
            .disk
            .reserve(size.unwrap_or_default().max(MIN_RESERVED))?;
        self.inner.shared.write_latency.check()?;
        Ok(reserved)
    }

    /// The reason why new mail is refused for lack of room, in words; `None` while there is room.
    pub fn space_problem(&self) -> Option<String> {
        self.inner
            .check_room()
            .err()
            .map(|error| error.to_string())
            .or_else(|| self.inner.shared.disk.problem())
    }

    /// True from a [`Self::check`] that found the write latency above the limit until the pending writes are in time.
    pub fn is_behind(&self) -> bool {
        self.inner.shared.write_latency.is_behind()
    }

    /// Counts a write as pending until the guard is dropped. For tests of a slow disk.
    #[doc(hidden)]
    pub fn hold_up(&self) -> impl Drop + use<'_> {
        self.inner.shared.write_latency.begin()
    }

    /// Begins a message that is being received. [`PutError::Full`] below the low-water mark.
    pub fn draft(&self) -> Result<Draft, PutError> {
        self.draft_in(self.reserve(None)?)
    }

    /// Begins a message for which room is reserved. Beyond the reservation the draft reserves more as it grows.
    /// [`PutError::Full`] if the disk has fallen below the low-water mark since.
    pub fn draft_in(&self, reserved: ReservedSpace) -> Result<Draft, PutError> {
        self.inner.check_room()?;
        self.inner.shared.disk.check()?;
        Ok(Draft::new(self.inner.clone(), Some(reserved)))
    }

    /// Begins a notification of the host's own, which the low-water mark does not stop.
    pub fn notice_draft(&self) -> Draft {
        Draft::new(self.inner.clone(), None)
    }

    /// Claims up to `at_most` queued or failing messages that are due at `now` and hold no lease. Alternates between
    /// the oldest and the newest due message, so that a backlog does not delay new mail. May read from the disk.
    pub fn claim_due(&self, now: Timestamp, at_most: usize) -> Vec<Claim> {
        self.inner.claim_due(now, at_most)
    }

    /// Returns the due time of the next unclaimed message.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.inner.shared.index().next_due()
    }

    /// Returns the destinations that messages wait for, see [`Claim::wait_for`].
    pub fn waited_for(&self) -> Vec<Arc<str>> {
        self.inner.shared.index().waiting().destinations()
    }

    /// Returns the destinations that this message waits for, joined with commas; `None` if the message does not wait.
    pub fn waits_for(&self, id: MessageId) -> Option<String> {
        self.inner.shared.index().waiting().destination_of(id)
    }

    /// Makes up to `at_most` messages due that wait for this destination, the first to expire first.
    /// Returns the number.
    pub fn wake(&self, destination: &str, at_most: usize) -> usize {
        let woken = self.inner.shared.index().wake(destination, at_most);
        self.notify_woken(woken);
        woken
    }

    /// Makes every waiting message due that has expired at `now`.
    pub fn wake_expired(&self, now: Timestamp) {
        let woken = self.inner.shared.index().wake_expired(now);
        self.notify_woken(woken);
    }

    fn notify_woken(&self, woken: usize) {
        if woken > 0 {
            self.inner.shared.changed.notify_one();
        }
    }

    /// Returns the first error when the store refuses all further writes until the next open, as after a disk error. Settlements cannot
    /// be kept then, so that going on would deliver the same messages again and again. Supports a single waiter.
    pub async fn lost(&self) -> String {
        self.inner.shared.store.lost().await
    }

    /// Returns when messages were set aside since the last call; the first time also if the spool has earlier ones.
    /// Supports a single waiter.
    pub async fn newly_set_aside(&self) {
        self.inner.shared.set_aside.notified().await;
    }

    /// Returns when a message was put, given back or made due since the last call. Supports a single waiter.
    pub async fn changed(&self) {
        self.inner.shared.changed.notified().await;
    }

    /// Settles a claim with a single durable batch: the message's new record (`None` removes the message) and the
    /// notices. On an error the spool is unchanged and the claim is given back.
    ///
    /// A batch without notices is submitted by the call; the future, which is small, waits for the sync.
    pub fn settle(
        &self,
        claim: Claim,
        next: Option<Message>,
        notices: Vec<(Draft, Message)>,
    ) -> impl Future<Output = Result<(), PutError>> + Send + use<> {
        let submission = if notices.is_empty() {
            Submission::Submitted(self.inner.settle(claim, next, Vec::new(), || {}))
        } else {
            let inner = Arc::clone(&self.inner);
            Submission::Preparing(Box::pin(async move {
                let (edits, cleanups) = prepare_notices(notices).await?;
                let shared = inner.shared.clone();
                inner.settle(claim, next, edits, move || {
                    cleanups.into_iter().for_each(|cleanup| cleanup.publish(&shared));
                })
            }))
        };
        submission.wait()
    }

    /// Replaces the record of a claimed message with a durable batch that also holds the notices. The claim goes on with
    /// the new record. On an error the spool is unchanged.
    pub async fn checkpoint(
        &self,
        claim: &mut Claim,
        next: Message,
        notices: Vec<(Draft, Message)>,
    ) -> Result<(), PutError> {
        let (mut edits, cleanups) = prepare_notices(notices).await?;
        let next = claim.stored.with_message(next);
        edits.push(StoreEdit::record(&next)?);
        let shared = self.inner.shared.clone();
        let written = self.inner.writer.submit(edits, move || {
            cleanups.into_iter().for_each(|cleanup| cleanup.publish(&shared));
        });
        written.wait().await?;
        claim.lease.restore(IndexEntry::from(&next));
        *claim.stored = next;
        Ok(())
    }

    /// Lists a page of messages in order of arrival, skipping records that cannot be read. Reads at most 10,000
    /// records, so that the call stays short. Blocks.
    pub fn list(&self, filter: &ListFilter) -> Result<Listed, PutError> {
        self.list_within(filter, MAX_SCANNED)
    }

    fn list_within(&self, filter: &ListFilter, max_scanned: usize) -> Result<Listed, PutError> {
        let mut found = Listed::default();
        if self.has_none(filter.state.as_deref()) {
            return Ok(found);
        }
        let mut last = None;
        let records = self.inner.shared.store.scan(StoreTable::Messages, filter.after, true);
        for (scanned, item) in records.enumerate() {
            if found.messages.len() == filter.limit || scanned == max_scanned {
                found.next = last;
                break;
            }
            let (key, value) = item.map_err(PutError::Store)?;
            let Some(id) = id_of(&key) else { continue };
            last = Some(id);
            let Ok(stored) = Stored::decode(id, value.as_deref().unwrap_or_default()) else {
                continue;
            };
            let state = stored.message.state.name();
            if filter.state.as_deref().is_none_or(|wanted| wanted == state) {
                found.messages.push(stored.message);
            }
        }
        Ok(found)
    }

    /// True if the counts prove that no message is in this state.
    fn has_none(&self, state: Option<&str>) -> bool {
        let counts = self.counts();
        let count = match state {
            Some("queued") => counts.queued,
            Some("failing") => counts.failing,
            Some("quarantined") => counts.quarantined,
            Some("frozen") => counts.frozen,
            _ => return false,
        };
        count == 0 && self.is_recovered()
    }

    /// Returns a message and the bytes; `None` if the spool has no such message. For a message that was set aside the
    /// error names the reason. Blocks.
    pub fn get(&self, id: MessageId) -> Result<Option<Found>, PutError> {
        let store = &self.inner.shared.store;
        if let Some(stored) = self.inner.stored(id)? {
            let content: Arc<dyn Content> = Arc::new(claim::content(store, &stored));
            return Ok(Some((stored.message, content)));
        }
        match self.inner.set_aside_record(id)? {
            None => Ok(None),
            Some(record) => Err(PutError::Store(format!("{id} was set aside: {}", record.reason))),
        }
    }

    /// Returns a message that was set aside; `None` if there is none under this id. Blocks.
    pub fn set_aside(&self, id: MessageId) -> Result<Option<SetAsideMessage>, PutError> {
        let record = self.inner.set_aside_record(id)?;
        Ok(record.map(|record| SetAsideMessage::new(id, record)))
    }

    /// Lists up to `limit` messages that were set aside, in order of arrival after `after`. Blocks.
    pub fn list_set_aside(&self, after: Option<MessageId>, limit: usize) -> Result<Vec<SetAsideMessage>, PutError> {
        let mut found = Vec::new();
        for item in self.inner.shared.store.scan(StoreTable::SetAside, after, false) {
            if found.len() == limit {
                break;
            }
            let (key, _) = item.map_err(PutError::Store)?;
            if let Some(id) = id_of(&key) {
                found.extend(self.set_aside(id)?);
            }
        }
        Ok(found)
    }

    /// Makes a queued, failing, frozen or quarantined message due now, or one that was set aside. False if the spool has
    /// no such message or the message holds a lease.
    ///
    /// # Errors
    ///
    /// [`PutError::Store`] also if the message was set aside and is still not whole.
    pub async fn release(&self, id: MessageId) -> Result<bool, PutError> {
        self.inner.shared.recovered.wait().await;
        let Some((stored, lease)) = self.inner.acquire(id)? else {
            return self.inner.release_set_aside(id).await;
        };
        let released = stored.released(Timestamp::now());
        let edits = vec![StoreEdit::record(&released)?];
        let entry = IndexEntry::from(&released);
        let shared = self.inner.shared.clone();
        let answer = self.inner.writer.submit(edits, move || {
            shared.index().mark_released(id);
            lease.replaced(entry);
        });
        answer.wait().await.map(|()| true)
    }

    /// Removes a message, or a record that was set aside. False if the spool has no such message or the message holds
    /// a lease.
    pub async fn delete(&self, id: MessageId) -> Result<bool, PutError> {
        self.inner.shared.recovered.wait().await;
        if let Some((stored, lease)) = self.inner.acquire(id)? {
            let answer = self.inner.remove(lease, &stored, Vec::new(), || {});
            return answer.wait().await.map(|()| true);
        }
        self.inner.delete_set_aside(id).await
    }

    /// Returns the numbers of messages in each state. Claimed messages count in their state, too.
    pub fn counts(&self) -> Counts {
        self.inner.shared.index().counts()
    }

    /// Writes all submitted edits and closes the store. Later writes fail.
    pub async fn close(&self) {
        self.inner.shared.closing.store(true, Ordering::Relaxed);
        self.inner.shared.store.stop_waiting();
        if let Some(thread) = self.inner.writer.stop() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// Completes the notices of a batch. Returns the edits of all, and the cleanups that publish them once the batch is
/// durable.
async fn prepare_notices(notices: Vec<(Draft, Message)>) -> Result<(Vec<StoreEdit>, Vec<DraftCleanup>), PutError> {
    let mut edits = Vec::new();
    let mut cleanups = Vec::with_capacity(notices.len());
    for (mut draft, message) in notices {
        // Boxed: few messages have notices, and the future of each would enlarge this one.
        Box::pin(draft.sync_file()).await?;
        let complete = draft.complete(message)?;
        edits.extend(complete.edits);
        cleanups.push(complete.cleanup);
    }
    Ok((edits, cleanups))
}
