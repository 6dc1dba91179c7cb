//! The spool: durable put, claim, settle. A 250 means a put has returned.
//!
//! `docs/spool.md` has the table of states and what a crash leaves in each.

mod bounded_log;
mod buffer_budget;
mod claim;
mod disk_space;
mod draft;
mod index;
mod janitor;
mod lease;
mod message;
mod queue_actions;
mod recent_writes;
mod recovery;
mod shared;
mod spill;
mod store;
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
use std::time::Duration;

use serde::Serialize;

use self::draft::record_edit;
use self::index::IndexEntry;
use self::shared::Shared;
use self::store::{SpoolStore, StoreTable};
use self::writer::SpoolWriter;
use crate::disk_space::Disk;
use crate::lease::Lease;
use crate::queue_actions::SpoolCore;
use crate::stored_record::{SetAside, Stored};
use host_events::Events;
use host_mail::{Content, MessageId, Timestamp};

pub use crate::bounded_log::{Entry, Log};
pub use claim::Claim;
pub use draft::Draft;
pub use message::{Failed, Message, Recipient, RecipientState, State};
pub use recovery::Recovery;

/// How a spool is opened.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// New mail is refused below this many free bytes; delivery goes on.
    pub low_water: u64,
    /// Bytes of memory that messages being received share; beyond it they go to files sooner.
    pub memory: u64,
    /// New mail is refused while what was accepted waits for the disk for longer than this.
    pub wait: Duration,
}

impl Default for SpoolOptions {
    /// Without a water mark.
    fn default() -> Self {
        Self {
            low_water: 0,
            memory: 256 << 20,
            wait: Duration::from_secs(5),
        }
    }
}

/// Why a spool was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A newer Posthouse wrote it.
    #[error(
        "the spool has format {found}, this Posthouse knows up to {known}: use the newer release, or another data folder"
    )]
    Newer {
        /// The format found.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// Another process has it open.
    #[error("the spool is in use by another process")]
    InUse,
    /// The store failed.
    #[error("spool: {0}")]
    Store(String),
}

/// Why something was not put.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Below the water mark.
    #[error("{free} bytes free, below the mark of {mark}")]
    Full {
        /// Free bytes on the spool's disk.
        free: u64,
        /// The configured mark.
        mark: u64,
    },
    /// The disk is too slow for what was accepted already.
    #[error("what was accepted waits {waited:?} for the disk")]
    Behind {
        /// The oldest of it.
        waited: Duration,
    },
    /// The store failed; nothing was put.
    #[error("spool: {0}")]
    Store(String),
}

/// Which messages to list.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    /// `queued`, `failing`, `quarantined` or `frozen`; none is all.
    pub state: Option<String>,
    /// Only after this id.
    pub after: Option<MessageId>,
    /// At most so many.
    pub limit: usize,
}

/// Records one call of [`Spool::list`] looks at.
const LOOK: usize = 10_000;

/// What a list was found to have.
#[derive(Debug, Default)]
pub struct Listed {
    /// In order of arrival. Perhaps none, though there are more.
    pub messages: Vec<Message>,
    /// There may be more after this; none at the end.
    pub next: Option<MessageId>,
}

/// A message and its bytes.
pub type Found = (Message, Arc<dyn Content>);

/// How many messages stand where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct Counts {
    pub queued: u64,
    pub failing: u64,
    pub quarantined: u64,
    pub frozen: u64,
    pub set_aside: u64,
    pub claimed: u64,
    /// Of the queued ones, those whose destination cannot be reached.
    pub waiting: u64,
}

/// The store of messages. Cheap to clone; the last clone to go closes it.
#[derive(Clone)]
pub struct Spool {
    inner: Arc<SpoolCore>,
}

impl Spool {
    /// Opens the folder and puts every left-over of the last run in order (5015, 5016).
    pub fn open(path: &Path, options: SpoolOptions, events: Events) -> Result<Self, OpenError> {
        let (spool, recovery) = Self::begin(path, options, events)?;
        recovery.run()?;
        Ok(spool)
    }

    /// As [`Self::open`], with the left-overs still to be read. The spool can be used meanwhile: what is new
    /// is as safe as ever, [`Self::list`] and [`Self::get`] find everything, the counts grow, and
    /// [`Self::release`] and [`Self::delete`] wait.
    pub fn begin(path: &Path, options: SpoolOptions, events: Events) -> Result<(Self, Recovery), OpenError> {
        let (store, existed) = SpoolStore::open(path)?;
        let failed = |error: std::io::Error| OpenError::Store(error.to_string());
        let disk = Disk::new(path.to_owned(), options.low_water, events.clone());
        let (janitor, chores) = mpsc::channel();
        let shared = Arc::new(Shared::new(store, disk, &options, events, janitor));
        // Before anything of this run is in the folder.
        let recovery = Recovery::new(shared.clone(), existed).map_err(OpenError::Store)?;
        let writer = SpoolWriter::start(shared.store.clone(), shared.underway.clone()).map_err(failed)?;
        janitor::start(&shared, chores).map_err(failed)?;
        let inner = Arc::new(SpoolCore { shared, writer });
        Ok((Self { inner }, recovery))
    }

    /// Whether everything that the last run left is known.
    pub fn is_recovered(&self) -> bool {
        self.inner.shared.recovered.initialized()
    }

    /// The log beside the messages. Everything about it blocks.
    pub fn log(&self) -> Log {
        Log::new(self.inner.shared.clone())
    }

    /// Whether a transaction may begin: there is room on the disk, and it keeps up.
    pub fn check(&self) -> Result<(), PutError> {
        self.inner.shared.disk.check()?;
        self.inner.shared.pace.check()
    }

    /// Accepted messages wait for the disk for too long.
    pub fn is_behind(&self) -> bool {
        self.inner.shared.pace.is_behind()
    }

    /// Counts a write as pending until the guard is dropped. For tests of what happens behind a slow disk.
    #[doc(hidden)]
    pub fn hold_up(&self) -> impl Drop + use<'_> {
        self.inner.shared.pace.begin()
    }

    /// A place for a message that is being received. Below the water mark there is none.
    pub fn draft(&self) -> Result<Draft, PutError> {
        self.inner.shared.disk.check()?;
        Ok(self.notice_draft())
    }

    /// A place for the host's own notifications, which the water mark does not stop.
    pub fn notice_draft(&self) -> Draft {
        Draft::new(self.inner.clone())
    }

    /// Messages that are due and that nobody works on, queued or failing, by turns the longest due and the latest.
    pub fn claim_due(&self, now: Timestamp, at_most: usize) -> Vec<Claim> {
        let shared = &self.inner.shared;
        let taken = shared.index().claim(now, at_most);
        let held = taken
            .into_iter()
            .map(|(id, place)| Lease::new(shared.clone(), id, place));
        held.filter_map(|held| self.inner.claim(held)).collect()
    }

    /// When the next unclaimed message is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.inner.shared.index().next_due()
    }

    /// Destinations that messages wait for, see [`Claim::wait_for`].
    pub fn waited_for(&self) -> Vec<Arc<str>> {
        self.inner.shared.index().waiting().destinations()
    }

    /// What this message waits for, if it does.
    pub fn waits_for(&self, id: MessageId) -> Option<Arc<str>> {
        self.inner.shared.index().waiting().destination_of(id)
    }

    /// Makes up to so many messages due that wait for this destination.
    pub fn wake(&self, destination: &str, at_most: usize) {
        let woken = self.inner.shared.index().wake(destination, at_most);
        self.look_again(woken);
    }

    /// Makes those due that have expired while they waited for a destination.
    pub fn wake_expired(&self, now: Timestamp) {
        let woken = self.inner.shared.index().wake_expired(now);
        self.look_again(woken);
    }

    fn look_again(&self, woken: usize) {
        if woken > 0 {
            self.inner.shared.changed.notify_one();
        }
    }

    /// Returns when the store takes no more writes until it is opened again, as after an error of the
    /// disk. What was settled in memory cannot be kept then, so that going on would deliver it again
    /// and again. One waiter at a time.
    pub async fn lost(&self) {
        self.inner.shared.store.lost().await;
    }

    /// Returns when something was put, given back or made due since the last call. One waiter at a
    /// time.
    pub async fn changed(&self) {
        self.inner.shared.changed.notified().await;
    }

    /// One durable batch: the claimed message's new record (none removes it) and its notices.
    /// On an error nothing has changed and the claim is given back.
    pub async fn settle(
        &self,
        claim: Claim,
        next: Option<Message>,
        notices: Vec<(Draft, Message)>,
    ) -> Result<(), PutError> {
        let mut edits = Vec::new();
        let mut arrivals = Vec::with_capacity(notices.len());
        for (draft, message) in notices {
            // Few messages have notices, and each would move the room for this along.
            let put = Box::pin(draft.prepare(message)).await?;
            edits.extend(put.edits);
            arrivals.push(put.arrival);
        }
        let shared = self.inner.shared.clone();
        let Claim { stored, held, .. } = claim;
        let answer = match next {
            Some(next) => self.inner.replace(held, &stored, next, edits, move || {
                arrivals.into_iter().for_each(|arrival| arrival.arrive(&shared));
            })?,
            None => self.inner.remove(held, &stored, edits, move || {
                arrivals.into_iter().for_each(|arrival| arrival.arrive(&shared));
            }),
        };
        answer.wait().await
    }

    /// Messages in order of arrival, of so many records that it takes no long time. Records that cannot be read are
    /// passed over.
    pub fn list(&self, filter: &ListFilter) -> Result<Listed, PutError> {
        self.list_within(filter, LOOK)
    }

    fn list_within(&self, filter: &ListFilter, look: usize) -> Result<Listed, PutError> {
        let mut found = Listed::default();
        if self.has_none(filter.state.as_deref()) {
            return Ok(found);
        }
        let mut last = None;
        for (looked, item) in (self.inner.shared.store.scan(StoreTable::Messages, filter.after, true)).enumerate() {
            if found.messages.len() == filter.limit || looked == look {
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

    /// Whether it is known, without looking, that no message is in this state.
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

    /// One message and its bytes. For one that was set aside the reason is the error.
    pub fn get(&self, id: MessageId) -> Result<Option<Found>, PutError> {
        let store = &self.inner.shared.store;
        if let Some(stored) = self.inner.stored(id)? {
            let content: Arc<dyn Content> = Arc::new(claim::content(store, &stored));
            return Ok(Some((stored.message, content)));
        }
        match store.value(StoreTable::SetAside, id).map_err(PutError::Store)? {
            None => Ok(None),
            Some(record) => {
                let reason = serde_json::from_slice::<SetAside>(&record)
                    .map_or_else(|error| error.to_string(), |set_aside| set_aside.reason);
                Err(PutError::Store(format!("{id} was set aside: {reason}")))
            }
        }
    }

    /// Makes a waiting, frozen or quarantined message due now; false if there is none to be.
    pub async fn release(&self, id: MessageId) -> Result<bool, PutError> {
        self.inner.shared.recovered.wait().await;
        let Some((stored, held)) = self.inner.hold(id)? else {
            return Ok(false);
        };
        let released = stored.released(Timestamp::now());
        let edits = vec![record_edit(&released)?];
        let place = IndexEntry::from(&released);
        let answer = self.inner.writer.submit(edits, move || held.became(place));
        answer.wait().await.map(|()| true)
    }

    /// Removes a message nobody works on; false if there is none.
    pub async fn delete(&self, id: MessageId) -> Result<bool, PutError> {
        self.inner.shared.recovered.wait().await;
        if let Some((stored, held)) = self.inner.hold(id)? {
            let answer = self.inner.remove(held, &stored, Vec::new(), || {});
            return answer.wait().await.map(|()| true);
        }
        self.inner.delete_set_aside(id).await
    }

    /// How many messages stand where. Those being worked on are counted in their state, too.
    pub fn counts(&self) -> Counts {
        self.inner.shared.index().counts()
    }

    /// Writes what is left to write and closes the store.
    pub async fn close(&self) {
        self.inner.shared.closing.store(true, Ordering::Relaxed);
        if let Some(thread) = self.inner.writer.stop() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn id_of(key: &[u8]) -> Option<MessageId> {
    std::str::from_utf8(key).ok()?.parse().ok()
}
