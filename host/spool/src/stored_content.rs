//! Readers of a message's bytes in memory, in the store and in the spill file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use host_mail::{Content, MessageId};

use crate::store::SpoolStore;
use crate::store_edit::StoreTable;
use crate::stored_record::FilePart;

/// The bytes of a draft at a moment: the spill file up to a size, then the buffer.
pub(super) struct DraftContent {
    pub file: Option<(Arc<File>, u64)>,
    pub buffered: Bytes,
}

impl DraftContent {
    fn spilled(&self) -> u64 {
        self.file.as_ref().map_or(0, |(_, size)| *size)
    }
}

impl Content for DraftContent {
    fn size(&self) -> u64 {
        self.spilled() + self.buffered.len() as u64
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let spilled = self.spilled();
        let front = |offset, length| match &self.file {
            Some((file, _)) => read_file(file, offset, length),
            None => Ok(Bytes::new()),
        };
        let back = |offset, length| Ok(slice(&self.buffered, offset, length));
        read_across(spilled, self.buffered.len() as u64, offset, length, front, back)
    }
}

/// The bytes of a stored message: the head from the store, the rest from the spill file. Both are opened at the first
/// read and kept.
pub(super) struct StoredContent {
    store: SpoolStore,
    id: MessageId,
    head_size: u64,
    part: Option<FilePart>,
    head: OnceLock<Bytes>,
    file: OnceLock<File>,
}

impl StoredContent {
    pub fn new(store: SpoolStore, id: MessageId, head_size: u64, part: Option<FilePart>) -> Self {
        Self {
            store,
            id,
            head_size,
            part,
            head: OnceLock::new(),
            file: OnceLock::new(),
        }
    }

    /// Supplies the head, which is not read from the store then.
    pub fn with_head(self, head: Bytes) -> Self {
        Self {
            head: OnceLock::from(head),
            ..self
        }
    }

    /// Returns the head if the head is in memory.
    pub fn loaded_head(&self) -> Option<Bytes> {
        self.head.get().cloned()
    }

    fn head(&self) -> io::Result<&Bytes> {
        if let Some(head) = self.head.get() {
            return Ok(head);
        }
        let found = self.store.read_value(StoreTable::Bodies, self.id)?;
        let head = found.unwrap_or_default();
        if head.len() as u64 != self.head_size {
            let text = format!("body of {}: {} bytes of {}", self.id, head.len(), self.head_size);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        Ok(self.head.get_or_init(|| head))
    }

    fn file(&self) -> io::Result<&File> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = File::open(self.store.large_file(self.id))?;
        Ok(self.file.get_or_init(|| file))
    }

    fn file_size(&self) -> u64 {
        self.part.map_or(0, |part| part.size - part.skip)
    }
}

impl Content for StoredContent {
    fn size(&self) -> u64 {
        self.head_size + self.file_size()
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let skip = self.part.map_or(0, |part| part.skip);
        let front = |offset, length| Ok(slice(self.head()?, offset, length));
        let back = |offset, length| read_file(self.file()?, offset + skip, length);
        read_across(self.head_size, self.file_size(), offset, length, front, back)
    }
}

/// Reads from two adjacent parts; a range that crosses the boundary is copied. Stops at the end.
fn read_across(
    front_size: u64,
    back_size: u64,
    offset: u64,
    length: usize,
    front: impl FnOnce(u64, usize) -> io::Result<Bytes>,
    back: impl FnOnce(u64, usize) -> io::Result<Bytes>,
) -> io::Result<Bytes> {
    let size = front_size + back_size;
    let length = usize::try_from(size.saturating_sub(offset))
        .unwrap_or(usize::MAX)
        .min(length);
    if length == 0 {
        return Ok(Bytes::new());
    }
    if offset >= front_size {
        return back(offset - front_size, length);
    }
    let in_front = usize::try_from(front_size - offset).unwrap_or(usize::MAX).min(length);
    let first = front(offset, in_front)?;
    if in_front == length {
        return Ok(first);
    }
    let mut both = BytesMut::with_capacity(length);
    both.extend_from_slice(&first);
    both.extend_from_slice(&back(0, length - in_front)?);
    Ok(both.freeze())
}

fn slice(bytes: &Bytes, offset: u64, length: usize) -> Bytes {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(start..start.saturating_add(length).min(bytes.len()))
}

fn read_file(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes.into())
}
