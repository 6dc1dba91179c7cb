//! The original as its sender handed it over: without the fields that this host added.

use std::io;

use bytes::Bytes;
use host_mail::{Content, HeaderBlock, MessageId, added_by_host};

/// The part of a message from an offset on.
pub(super) struct AsSent<'a> {
    content: &'a dyn Content,
    offset: u64,
}

impl<'a> AsSent<'a> {
    /// Leaves out what `host` added to the message `id`, in this pass and in earlier passes.
    pub(super) fn new(content: &'a dyn Content, header: &HeaderBlock, host: &str, id: MessageId) -> Self {
        let offset = added_by_host(header, host, id) as u64;
        Self { content, offset }
    }
}

impl Content for AsSent<'_> {
    fn size(&self) -> u64 {
        self.content.size().saturating_sub(self.offset)
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        self.content.read(self.offset.saturating_add(offset), length)
    }
}
