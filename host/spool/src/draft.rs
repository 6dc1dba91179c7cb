//! A draft: a message that is being received.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use fjall::Slice;
use host_mail::{Content, MessageId, Timestamp};

use crate::buffer_budget::{BASE_BUFFER, BufferShare};
use crate::disk_space::ReservedSpace;
use crate::index_entry::IndexEntry;
use crate::message::Message;
use crate::queue_actions::SpoolCore;
use crate::recent_writes::StoredMessage;
use crate::shared::{ReservedId, Shared};
use crate::spill::Spill;
use crate::spool_error::{PutError, is_storage_full};
use crate::store_edit::{StoreEdit, StoreTable};
use crate::stored_content::DraftContent;
use crate::stored_record::{FilePart, Stored};
use crate::writer::{Submission, WriteResult};

/// Maximum bytes of a draft in memory. A longer draft is appended to a spill file in pieces of this size.
pub(super) const PIECE: usize = 256 * 1024;

/// A message that is being received. Dropping the draft removes the bytes written so far.
pub struct Draft {
    spool: Arc<SpoolCore>,
    reserved: ReservedId,
    share: BufferShare,
    /// Room on the disk; `None` for a notification, which may use the room below the low-water mark.
    space: Option<ReservedSpace>,
    file: DraftFile,
    /// Bytes after the file that [`Self::content`] has shared with a reader.
    shared: Bytes,
    /// Bytes after `shared`.
    buffer: Vec<u8>,
    prefix: Vec<u8>,
    skip: u64,
}

enum DraftFile {
    /// The draft fits in memory so far.
    None,
    Some(Spill),
    /// A write failed or was cancelled: the content of the file is unknown.
    Lost,
}

impl Draft {
    pub(super) fn new(spool: Arc<SpoolCore>, space: Option<ReservedSpace>) -> Self {
        let reserved = spool.shared.reserve();
        let share = spool.shared.buffer_budget.share();
        Self {
            spool,
            reserved,
            share,
            space,
            file: DraftFile::None,
            shared: Bytes::new(),
            buffer: Vec::new(),
            prefix: Vec::new(),
            skip: 0,
        }
    }

    /// The id of the message.
    pub fn id(&self) -> MessageId {
        self.reserved.id
    }

    /// Appends bytes. A full buffer goes to the spill file, not yet synced. Not cancel safe: a cancelled or failed
    /// write may lose the draft, so that the commit fails.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] if the draft outgrows its reservation and the disk has no room for more.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.reserve(self.size() + bytes.len() as u64)?;
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let room = self.make_room(bytes.len());
            // Spills only when more bytes come: a message of exactly one piece stays in memory.
            if room == 0 {
                self.spill().await?;
                continue;
            }
            let (now, later) = bytes.split_at(room);
            self.buffer.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Reserves room for a draft of `size` bytes, a piece at least.
    fn reserve(&mut self, size: u64) -> Result<(), PutError> {
        if let Some(space) = &mut self.space
            && size > space.total()
        {
            let more = (size - space.total()).max(PIECE as u64);
            space.join(self.spool.shared.disk.reserve(more)?);
        }
        Ok(())
    }

    /// Grows the buffer for `more` bytes and returns the number of bytes that fit. Doubles as a vector does, at most to
    /// a piece, and at most to the base buffer while the budget is spent.
    fn make_room(&mut self, more: usize) -> usize {
        let (length, now) = (self.buffer.len(), self.buffer.capacity());
        let needed = length + more;
        if needed > now {
            let mut capacity = needed.max(now * 2).min(PIECE);
            if !self.share.try_grow(capacity) {
                capacity = capacity.min(now.max(BASE_BUFFER));
            }
            self.buffer.reserve_exact(capacity - length);
        }
        more.min(self.buffer.capacity().min(PIECE) - length)
    }

    /// Number of bytes written so far, without the prefix.
    pub fn size(&self) -> u64 {
        let spilled = match &self.file {
            DraftFile::Some(spill) => spill.size(),
            DraftFile::None | DraftFile::Lost => 0,
        };
        spilled + (self.shared.len() + self.buffer.len()) as u64
    }

    /// Returns the bytes written so far, without the prefix. Readable as long as the draft lives.
    pub fn content(&mut self) -> Arc<dyn Content> {
        if self.shared.is_empty() {
            // Moved, not copied: a large message is in memory once.
            self.shared = std::mem::take(&mut self.buffer).into();
        } else if !self.buffer.is_empty() {
            self.shared = [&self.shared[..], &self.buffer].concat().into();
            self.buffer = Vec::new();
        }
        let file = match &self.file {
            DraftFile::Some(spill) => Some((spill.file().clone(), spill.size())),
            DraftFile::None | DraftFile::Lost => None,
        };
        Arc::new(DraftContent {
            file,
            buffered: self.shared.clone(),
        })
    }

    /// Replaces the first `skip` bytes by `prefix`: the trace header, added and removed fields.
    pub fn set_prefix(&mut self, prefix: Vec<u8>, skip: u64) {
        self.prefix = prefix;
        self.skip = skip;
    }

    /// Puts the message; returns after the sync. `message.id` must be the draft's id; `message.size` is set here.
    ///
    /// # Errors
    ///
    /// After an error the message is not in the spool, unless the sync itself failed (see `docs/internals/spool.md`).
    pub async fn commit(self, message: Message) -> Result<(), PutError> {
        self.commit_with(message, || {}).await
    }

    /// Puts the message as [`Self::commit`] does, and runs `on_durable` after the sync and before the message can be
    /// claimed. `on_durable` runs on the writer's thread and must be quick.
    ///
    /// The batch of a draft in memory is submitted by the call; the future, which is small, waits for the sync.
    ///
    /// # Errors
    ///
    /// As [`Self::commit`]; `on_durable` does not run then.
    pub fn commit_with(
        mut self,
        message: Message,
        on_durable: impl FnOnce() + Send + 'static,
    ) -> impl Future<Output = Result<(), PutError>> + Send {
        let spool = self.spool.clone();
        let submission = match self.file {
            DraftFile::None => Submission::Submitted(self.submit(message, on_durable)),
            DraftFile::Some(_) | DraftFile::Lost => Submission::Preparing(Box::pin(async move {
                self.sync_file().await?;
                self.submit(message, on_durable)
            })),
        };
        async move {
            let _pending = spool.shared.write_latency.begin();
            submission.wait().await
        }
    }

    fn submit(self, message: Message, on_durable: impl FnOnce() + Send + 'static) -> Result<WriteResult, PutError> {
        let spool = self.spool.clone();
        let CompleteDraft { edits, cleanup } = self.complete(message)?;
        spool.check_room()?;
        let shared = spool.shared.clone();
        Ok(spool.writer.submit_new(edits, move || {
            on_durable();
            cleanup.publish(&shared);
        }))
    }

    /// Syncs the spill file of a draft that has one, so that [`Self::complete`] may follow. If cancelled, the draft is
    /// lost.
    pub(super) async fn sync_file(&mut self) -> Result<(), PutError> {
        if matches!(self.file, DraftFile::None) {
            return Ok(());
        }
        self.spill().await?;
        if let DraftFile::Some(spill) = std::mem::replace(&mut self.file, DraftFile::Lost) {
            let synced = blocking(move || spill.sync().map(|()| spill)).await?;
            self.file = DraftFile::Some(synced);
        }
        Ok(())
    }

    /// Builds the edits of a draft whose file is synced.
    pub(super) fn complete(mut self, message: Message) -> Result<CompleteDraft, PutError> {
        let id = self.id();
        if message.id != id {
            return Err(PutError::Store(format!(
                "the draft of {id} was to become {}",
                message.id
            )));
        }
        let (head, part, spill) = match std::mem::replace(&mut self.file, DraftFile::Lost) {
            DraftFile::Lost => return Err(lost()),
            DraftFile::None => {
                let skip = usize::try_from(self.skip).unwrap_or(usize::MAX);
                let (shared, buffer) = (&self.shared[..], &self.buffer[..]);
                let later = buffer.get(skip.saturating_sub(shared.len())..).unwrap_or_default();
                let shared = shared.get(skip..).unwrap_or_default();
                ([&self.prefix[..], shared, later].concat(), None, None)
            }
            DraftFile::Some(spill) => {
                let (size, skip) = (spill.size(), self.skip.min(spill.size()));
                let part = FilePart { size, skip };
                (std::mem::take(&mut self.prefix), Some(part), Some(spill))
            }
        };
        let head = Slice::from(head);
        let stored = Box::new(Stored::new(message, head.len() as u64, part));
        let mut edits = vec![StoreEdit::new_record(&stored)?];
        if !head.is_empty() {
            edits.push(StoreEdit::new(StoreTable::Bodies, id, Some(head.clone())));
        }
        let cleanup = DraftCleanup {
            entry: IndexEntry::from(&*stored),
            head: stored.head,
            spill,
            reserved: self.reserved,
            _share: self.share,
            _space: self.space,
            message: (stored, Bytes::from_owner(head)),
        };
        Ok(CompleteDraft { edits, cleanup })
    }

    #[cfg(test)]
    pub(super) fn buffer_capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Moves the buffered bytes to the spill file. If cancelled, the draft is lost.
    async fn spill(&mut self) -> Result<(), PutError> {
        let file = match std::mem::replace(&mut self.file, DraftFile::Lost) {
            DraftFile::Lost => return Err(lost()),
            DraftFile::None => None,
            DraftFile::Some(spill) => Some(spill),
        };
        let core = self.spool.shared.clone();
        let path = core.store.large_file(self.id());
        let shared = std::mem::take(&mut self.shared);
        let mut buffer = std::mem::take(&mut self.buffer);
        let spilled = (shared.len() + buffer.len()) as u64;
        let (spill, buffer) = blocking(move || {
            let mut spill = match file {
                Some(spill) => spill,
                None => Spill::create(path, core.janitor.clone())?,
            };
            spill.append(&shared)?;
            spill.append(&buffer)?;
            buffer.clear();
            Ok((spill, buffer))
        })
        .await?;
        if let Some(space) = &mut self.space {
            space.use_up(spilled);
        }
        self.file = DraftFile::Some(spill);
        self.buffer = buffer;
        Ok(())
    }
}

/// A draft that lacks only the batch.
pub(super) struct CompleteDraft {
    pub edits: Vec<StoreEdit>,
    pub cleanup: DraftCleanup,
}

/// The resources of a draft until the batch is written. Dropping removes the spill file and frees the id.
pub(super) struct DraftCleanup {
    entry: IndexEntry,
    head: u64,
    spill: Option<Spill>,
    reserved: ReservedId,
    /// Share of the buffers, which stay in memory until the batch is written.
    _share: BufferShare,
    _space: Option<ReservedSpace>,
    /// Candidate for the recent writes.
    message: StoredMessage,
}

impl DraftCleanup {
    /// Adds the message to the index after the batch was written.
    pub fn publish(self, shared: &Shared) {
        if let Some(spill) = self.spill {
            spill.keep();
        }
        // Before the index: a message in the index may be claimed at once.
        if self.entry.kind.is_claimable() && self.entry.due <= Timestamp::now() {
            shared.recent_writes().insert(self.message);
        }
        shared.index().add(self.reserved.id, self.entry, self.head);
        shared.changed.notify_one();
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, PutError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) if is_storage_full(&error) => Err(PutError::Full { free: 0, mark: 0 }),
        Ok(Err(error)) => Err(PutError::Store(error.to_string())),
        Err(error) => Err(PutError::Store(error.to_string())),
    }
}

fn lost() -> PutError {
    PutError::Store("an earlier write of this message failed".to_owned())
}
