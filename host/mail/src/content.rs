//! Access to a message's bytes without saying where they are kept.

use std::io;

use bytes::Bytes;

/// A complete message, header and body with CRLF line ends. Reads may block shortly on a disk.
pub trait Content: Send + Sync {
    /// Bytes in all.
    fn size(&self) -> u64;
    /// Up to `length` bytes from `offset`; short at the end, empty beyond it.
    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes>;
}

/// A message that is wholly in memory.
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
