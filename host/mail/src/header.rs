//! Header lines, found and unfolded; nothing here parses MIME (RFC 5322 section 2.2).

use bytes::Bytes;
use memchr::{memchr, memmem};

use super::Content;

/// A header block is read no further than this, in bytes.
pub const MAX_HEADER_BLOCK: usize = 256 * 1024;

/// One header field as it stands in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Field name without the colon.
    pub name: &'a [u8],
    /// The value as it stands, folded, without the final CRLF.
    pub value: &'a [u8],
}

impl Field<'_> {
    /// Whether the field has this name; case does not matter.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value on one line, trimmed, at most `limit` bytes; bad UTF-8 becomes U+FFFD.
    pub fn unfolded(&self, limit: usize) -> String {
        let text = String::from_utf8_lossy(&self.value[..self.value.len().min(limit)]);
        let mut line: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        let mut end = line.len().min(limit);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.trim().to_owned()
    }
}

/// The header of a message: everything before the first empty line.
#[derive(Debug, Clone, Default)]
pub struct HeaderBlock {
    bytes: Bytes,
}

impl HeaderBlock {
    /// Reads the header from the front of a message, bounded by `MAX_HEADER_BLOCK`.
    pub fn read(content: &dyn Content) -> std::io::Result<Self> {
        const STEP: usize = 16 * 1024;
        let mut first = content.read(0, STEP)?;
        // Nearly always: shared with the message, not copied.
        if let Some(end) = end_of_header(&first, 0) {
            first.truncate(end);
            return Ok(Self { bytes: first });
        }
        let mut bytes = Vec::from(first);
        loop {
            let more = content.read(bytes.len() as u64, STEP)?;
            if more.is_empty() {
                break;
            }
            let scanned = bytes.len().saturating_sub(4);
            bytes.extend_from_slice(&more);
            if let Some(end) = end_of_header(&bytes, scanned) {
                bytes.truncate(end);
                break;
            }
            if bytes.len() >= MAX_HEADER_BLOCK {
                bytes.truncate(MAX_HEADER_BLOCK);
                let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                bytes.truncate(end);
                break;
            }
        }
        Ok(Self { bytes: bytes.into() })
    }

    /// The block up to and without the empty line.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Every field in order; lines that are no field are passed over.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        Fields { rest: &self.bytes }
    }

    /// The fields of one name, in order.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Field<'a>> {
        self.fields().filter(move |field| field.is(name))
    }
}

/// Where the header ends: the index of the empty line, its CRLF not included.
fn end_of_header(bytes: &[u8], from: usize) -> Option<usize> {
    if bytes.starts_with(b"\r\n") {
        return Some(0);
    }
    memmem::find(&bytes[from..], b"\r\n\r\n").map(|at| from + at + 2)
}

struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        while !self.rest.is_empty() {
            let mut end = line_end(self.rest, 0);
            while matches!(self.rest.get(end), Some(b' ' | b'\t')) {
                end = line_end(self.rest, end);
            }
            let (field, rest) = self.rest.split_at(end);
            self.rest = rest;
            if let Some(colon) = field.iter().position(|b| *b == b':') {
                let name = field[..colon].trim_ascii_end();
                if !name.is_empty() && name.iter().all(|b| matches!(b, 33..=126)) {
                    let value = field[colon + 1..].strip_suffix(b"\r\n").unwrap_or(&field[colon + 1..]);
                    return Some(Field { name, value });
                }
            }
        }
        None
    }
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    memchr(b'\n', &bytes[from..]).map_or(bytes.len(), |at| from + at + 1)
}

#[cfg(test)]
mod tests {
    use super::super::InMemory;
    use super::*;

    fn block(text: &'static str) -> HeaderBlock {
        HeaderBlock::read(&InMemory(text.into())).expect("in memory")
    }

    #[test]
    fn finds_unfolds_and_stops_at_the_empty_line() {
        let header = block("From: a@b\r\nSubject: one\r\n two\r\nfrom : c@d\r\n\r\nFrom: body\r\n");
        let from: Vec<_> = header.named("From").map(|f| f.unfolded(100)).collect();
        assert_eq!(from, ["a@b", "c@d"]);
        let subject: Vec<_> = header.named("subject").map(|f| f.unfolded(100)).collect();
        assert_eq!(subject, ["one two"]);
    }

    #[test]
    fn a_message_may_be_all_header_or_none() {
        assert_eq!(block("A: b\r\n").fields().count(), 1);
        assert_eq!(block("\r\nA: b\r\n").fields().count(), 0);
        assert_eq!(block("").fields().count(), 0);
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(
            block("S: aé\r\n\r\n").named("S").next().expect("field").unfolded(3),
            "a"
        );
    }
}
