//! Header fields of a message, found and unfolded (RFC 5322 section 2.2). MIME structure is not parsed.

use bytes::Bytes;
use memchr::{memchr, memmem};

use super::Content;

/// Largest header block that is read, in bytes. A longer block is cut after the last complete line.
pub const MAX_HEADER_BLOCK: usize = 256 * 1024;

/// A header field, as written in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Field name without the colon.
    pub name: &'a [u8],
    /// The folded value, without the final CRLF.
    pub value: &'a [u8],
}

impl Field<'_> {
    /// True if the field has this name, ignoring ASCII case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Returns at most `limit` bytes of the value, unfolded to a single line and trimmed. Invalid UTF-8 becomes U+FFFD.
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

/// The header of a message: all bytes before the first empty line.
#[derive(Debug, Clone, Default)]
pub struct HeaderBlock {
    bytes: Bytes,
}

impl HeaderBlock {
    /// Reads the header of a message, at most `MAX_HEADER_BLOCK` bytes.
    pub fn read(content: &dyn Content) -> std::io::Result<Self> {
        const STEP: usize = 16 * 1024;
        let mut first = content.read(0, STEP)?;
        // The usual case: the bytes are shared with the message, not copied.
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

    /// The bytes of the header, without the empty line.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The fields in order. Lines that are not part of a field are skipped.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        Fields { rest: &self.bytes }
    }

    /// The fields in order, each with the index of the first byte behind it.
    pub fn fields_with_ends(&self) -> impl Iterator<Item = (Field<'_>, usize)> {
        let mut fields = Fields { rest: &self.bytes };
        std::iter::from_fn(move || {
            let field = fields.next()?;
            Some((field, self.bytes.len() - fields.rest.len()))
        })
    }

    /// The fields with the name, ignoring ASCII case, in order.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Field<'a>> {
        self.fields().filter(move |field| field.is(name))
    }
}

/// Returns the index of the CRLF that forms the empty line after the header. The search begins at `from`.
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
    fn finds_fields_by_name_unfolds_and_stops_at_the_empty_line() {
        let header = block("From: a@b\r\nSubject: one\r\n two\r\nfrom : c@d\r\n\r\nFrom: body\r\n");
        let from: Vec<_> = header.named("From").map(|f| f.unfolded(100)).collect();
        assert_eq!(from, ["a@b", "c@d"]);
        let subject: Vec<_> = header.named("subject").map(|f| f.unfolded(100)).collect();
        assert_eq!(subject, ["one two"]);
    }

    #[test]
    fn reads_messages_without_body_and_without_header() {
        assert_eq!(block("A: b\r\n").fields().count(), 1);
        assert_eq!(block("\r\nA: b\r\n").fields().count(), 0);
        assert_eq!(block("").fields().count(), 0);
    }

    #[test]
    fn unfolded_never_splits_a_character() {
        assert_eq!(
            block("S: aé\r\n\r\n").named("S").next().expect("field").unfolded(3),
            "a"
        );
    }
}
