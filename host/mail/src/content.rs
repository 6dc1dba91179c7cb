//! Access to the bytes of a message, independent of the storage.

use std::io;

use bytes::Bytes;

/// A complete message, header and body with CRLF line ends. Reads may block for the time of a disk access.
pub trait Content: Send + Sync {
    /// Size of the message in bytes.
    fn size(&self) -> u64;
    /// Reads up to `length` bytes from `offset`: fewer at the end of the message, and no byte beyond the end.
    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes>;
}

/// A message in memory.
#[derive(Debug, Clone, Default)]
pub struct InMemory(pub Bytes);

impl Content for InMemory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let end = start.saturating_add(length).min(self.0.len());
        Ok(self.0.slice(start..end))
    }
}
