//! A message that is being received.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use fjall::Slice;

use super::index::IndexEntry;
use super::shared::{Reserved, Shared};
use super::spill::Spill;
use super::store::{StoreEdit, StoreTable};
use super::{Message, PutError};
use crate::buffer_budget::{BufferShare, OWN};
use crate::queue_actions::SpoolCore;
use crate::recent_writes::StoredMessage;
use crate::stored_content::DraftContent;
use crate::stored_record::{FilePart, Stored};
use host_mail::{Content, MessageId, Timestamp};

/// So much is kept in memory; what does not fit goes to a file in pieces of this size.
pub(super) const PIECE: usize = 256 * 1024;

/// A message that is being received. Dropping it removes what was written.
pub struct Draft {
    spool: Arc<SpoolCore>,
    reserved: Reserved,
    share: BufferShare,
    file: File,
    /// What follows the file and was shown to somebody.
    shown: Bytes,
    /// What follows that.
    rest: Vec<u8>,
    prefix: Vec<u8>,
    skip: u64,
}

enum File {
    /// Everything fits in memory so far.
    None,
    Some(Spill),
    /// A write failed or was given up half-way: what is in the file is not known.
    Lost,
}

impl Draft {
    pub(super) fn new(spool: Arc<SpoolCore>) -> Self {
        let reserved = spool.shared.reserve();
        let share = spool.shared.memory.share();
        Self {
            spool,
            reserved,
            share,
            file: File::None,
            shown: Bytes::new(),
            rest: Vec::new(),
            prefix: Vec::new(),
            skip: 0,
        }
    }

    /// The message's name.
    pub fn id(&self) -> MessageId {
        self.reserved.id
    }

    /// Adds bytes; beyond a small buffer they go to the disk, not yet synced.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let room = self.make_room(bytes.len());
            // Only when more is coming: a message of exactly one piece stays in memory.
            if room == 0 {
                self.spill().await?;
                continue;
            }
            let (now, later) = bytes.split_at(room);
            self.rest.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Room for some of so many bytes, if there is any. Doubles as a vector does, but never beyond one
    /// piece, nor beyond this message's own bytes while others have taken all there is to share.
    fn make_room(&mut self, more: usize) -> usize {
        let (length, now) = (self.rest.len(), self.rest.capacity());
        let needed = length + more;
        if needed > now {
            let mut capacity = needed.max(now * 2).min(PIECE);
            if !self.share.try_grow(capacity) {
                capacity = capacity.min(now.max(OWN));
            }
            self.rest.reserve_exact(capacity - length);
        }
        more.min(self.rest.capacity().min(PIECE) - length)
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        let spilled = match &self.file {
            File::Some(spill) => spill.size(),
            File::None | File::Lost => 0,
        };
        spilled + (self.shown.len() + self.rest.len()) as u64
    }

    /// What was written so far, without the prefix, readable as long as the draft lives.
    pub fn content(&mut self) -> Arc<dyn Content> {
        if self.shown.is_empty() {
            // Shared, not copied: there is one of a big message.
            self.shown = std::mem::take(&mut self.rest).into();
        } else if !self.rest.is_empty() {
            self.shown = [&self.shown[..], &self.rest].concat().into();
            self.rest = Vec::new();
        }
        let file = match &self.file {
            File::Some(spill) => Some((spill.file().clone(), spill.size())),
            File::None | File::Lost => None,
        };
        Arc::new(DraftContent {
            file,
            rest: self.shown.clone(),
        })
    }

    /// Replaces the first `skip` bytes by `prefix`: trace header, added and removed fields.
    pub fn set_prefix(&mut self, prefix: Vec<u8>, skip: u64) {
        self.prefix = prefix;
        self.skip = skip;
    }

    /// Returns after the sync: the message is on disk. `message.id` is this draft's, its size is
    /// set here.
    pub async fn commit(self, message: Message) -> Result<(), PutError> {
        let spool = self.spool.clone();
        let put = self.prepare(message).await?;
        let shared = spool.shared.clone();
        let CompleteDraft { edits, arrival } = put;
        let _on_the_way = spool.shared.pace.begin();
        spool.writer.submit(edits, move || arrival.arrive(&shared)).wait().await
    }

    /// Everything but the batch: afterwards only the record is missing.
    pub(super) async fn prepare(mut self, message: Message) -> Result<CompleteDraft, PutError> {
        let id = self.id();
        if message.id != id {
            return Err(PutError::Store(format!(
                "the draft of {id} was to become {}",
                message.id
            )));
        }
        if !matches!(self.file, File::None) {
            self.spill().await?;
        }
        let (head, part, spill) = match std::mem::replace(&mut self.file, File::Lost) {
            File::Lost => return Err(lost()),
            File::None => {
                let skip = usize::try_from(self.skip).unwrap_or(usize::MAX);
                let (shown, rest) = (&self.shown[..], &self.rest[..]);
                let later = rest.get(skip.saturating_sub(shown.len())..).unwrap_or_default();
                let shown = shown.get(skip..).unwrap_or_default();
                ([&self.prefix[..], shown, later].concat(), None, None)
            }
            File::Some(spill) => {
                let spill = blocking(move || spill.sync().map(|()| spill)).await?;
                let (size, skip) = (spill.size(), self.skip.min(spill.size()));
                let part = FilePart { size, skip };
                (std::mem::take(&mut self.prefix), Some(part), Some(spill))
            }
        };
        let head = Slice::from(head);
        let stored = Stored::new(message, head.len() as u64, part);
        let mut edits = vec![record_edit(&stored)?];
        if !head.is_empty() {
            edits.push(StoreEdit {
                table: StoreTable::Bodies,
                id,
                value: Some(head.clone()),
            });
        }
        let arrival = DraftCleanup {
            place: IndexEntry::from(&stored),
            head: stored.head,
            spill,
            reserved: self.reserved,
            _share: self.share,
            fresh: (stored, head),
        };
        Ok(CompleteDraft { edits, arrival })
    }

    #[cfg(test)]
    pub(super) fn rest_capacity(&self) -> usize {
        self.rest.capacity()
    }

    /// Moves what is in memory to the file. Given up half-way, the draft is lost.
    async fn spill(&mut self) -> Result<(), PutError> {
        let file = match std::mem::replace(&mut self.file, File::Lost) {
            File::Lost => return Err(lost()),
            File::None => None,
            File::Some(spill) => Some(spill),
        };
        let shared = self.spool.shared.clone();
        let path = shared.store.large_file(self.id());
        let shown = std::mem::take(&mut self.shown);
        let mut piece = std::mem::take(&mut self.rest);
        let (spill, piece) = blocking(move || {
            let mut spill = match file {
                Some(spill) => spill,
                None => Spill::create(path, shared.janitor.clone())?,
            };
            spill.append(&shown)?;
            spill.append(&piece)?;
            piece.clear();
            Ok((spill, piece))
        })
        .await?;
        self.file = File::Some(spill);
        self.rest = piece;
        Ok(())
    }
}

/// A draft that lacks nothing but its batch.
pub(super) struct CompleteDraft {
    pub edits: Vec<StoreEdit>,
    pub arrival: DraftCleanup,
}

/// What is undone by itself if the batch is not written.
pub(super) struct DraftCleanup {
    place: IndexEntry,
    head: u64,
    spill: Option<Spill>,
    reserved: Reserved,
    /// The bytes wait in memory until they are on disk.
    _share: BufferShare,
    /// For whoever claims it at once.
    fresh: StoredMessage,
}

impl DraftCleanup {
    /// The batch is on disk.
    pub fn arrive(self, shared: &Shared) {
        if let Some(spill) = self.spill {
            spill.keep();
        }
        // First: once it is in the index somebody may claim it.
        if self.place.kind.is_worked_on() && self.place.due <= Timestamp::now() {
            shared.fresh().put(self.fresh);
        }
        shared.index().arrive(self.reserved.id, self.place, self.head);
        shared.changed.notify_one();
    }
}

pub(super) fn record_edit(stored: &Stored) -> Result<StoreEdit, PutError> {
    Ok(StoreEdit {
        table: StoreTable::Messages,
        id: stored.message.id,
        value: Some(stored.encode().map_err(PutError::Store)?.into()),
    })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, PutError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(PutError::Store(error.to_string())),
        Err(error) => Err(PutError::Store(error.to_string())),
    }
}

fn lost() -> PutError {
    PutError::Store("an earlier write of this message failed".to_owned())
}
