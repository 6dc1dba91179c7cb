//! Access to the header of a message as a trait, for testing rules without a host.

use posthouse_policy::Message;

/// A message whose header block can be read.
pub trait HeaderSource {
    /// Returns the complete header block, or `None` if the host provides only the beginning of a long header.
    fn whole_header(&self) -> Option<Vec<u8>>;
}

impl HeaderSource for Message<'_> {
    fn whole_header(&self) -> Option<Vec<u8>> {
        let block = self.header_block();
        // The host cuts a long block at a line end. A complete block is followed by an empty line or by the end of
        // the message.
        let next = self.read(block.len() as u64, 2);
        (next.is_empty() || next == b"\r\n").then_some(block)
    }
}
