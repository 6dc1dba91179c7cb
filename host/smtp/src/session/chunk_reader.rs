//! The reader of a message that comes in chunks (BDAT, RFC 3030): finds defects as the reader of DATA does, and removes
//! nothing.

use crate::session::data_reader::{Defect, MAX_TEXT_LINE};

/// Reads chunks, which may be cut anywhere.
#[derive(Debug)]
pub struct ChunkReader {
    after_cr: bool,
    line: u64,
    /// Octets of the line so far.
    length: usize,
    defect: Option<Defect>,
    /// First defect of the header, known once the header has ended.
    header_defect: Option<Option<Defect>>,
    eight_bit: bool,
}

impl Default for ChunkReader {
    /// Creates a reader at the start of a line.
    fn default() -> Self {
        Self {
            after_cr: false,
            line: 1,
            length: 0,
            defect: None,
            header_defect: None,
            eight_bit: false,
        }
    }
}

impl ChunkReader {
    /// Reads the next octets of the message.
    pub fn read(&mut self, octets: &[u8]) {
        self.eight_bit |= !octets.is_ascii();
        let mut rest = octets;
        // Behind the header only the first defect matters.
        while !rest.is_empty() && (self.defect.is_none() || self.header_defect.is_none()) {
            if std::mem::take(&mut self.after_cr) {
                if let Some(behind) = rest.strip_prefix(b"\n") {
                    self.end_line();
                    rest = behind;
                    continue;
                }
                self.note(Defect::BareCr(self.line));
            }
            let found = memchr::memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
            self.length += found;
            if self.length > MAX_TEXT_LINE {
                self.note(Defect::LongLine(self.line));
            }
            match rest.get(found) {
                None => return,
                Some(b'\r') => self.after_cr = true,
                Some(b'\n') => self.note(Defect::BareLf(self.line)),
                Some(_) => self.note(Defect::Nul(self.line)),
            }
            rest = &rest[found + 1..];
        }
    }

    fn end_line(&mut self) {
        if self.length == 0 {
            self.header_defect.get_or_insert(self.defect);
        }
        self.line += 1;
        self.length = 0;
    }

    fn note(&mut self, defect: Defect) {
        self.defect.get_or_insert(defect);
        // No empty line.
        self.length += 1;
    }

    /// Ends the message.
    pub fn finish(self) -> ChunkedContent {
        let last = self.after_cr.then_some(Defect::BareCr(self.line));
        let defect = self.defect.or(last);
        ChunkedContent {
            defect,
            header_defect: self.header_defect.unwrap_or(defect),
            eight_bit: self.eight_bit,
            ends_line: self.length == 0 && !self.after_cr,
        }
    }
}

/// Content of a message that came in chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkedContent {
    /// First defect that a message of lines must not have.
    pub defect: Option<Defect>,
    /// First defect of the header, which is made of lines in every message.
    pub header_defect: Option<Defect>,
    /// True if the message has octets above 127.
    pub eight_bit: bool,
    /// True if the last line has its CR LF; known only without a defect.
    pub ends_line: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a message whole, and cut at each place; both give the same.
    fn read(message: &[u8]) -> ChunkedContent {
        let mut whole = ChunkReader::default();
        whole.read(message);
        let whole = whole.finish();
        for at in 0..=message.len() {
            let mut cut = ChunkReader::default();
            cut.read(&message[..at]);
            cut.read(&message[at..]);
            assert_eq!(cut.finish(), whole, "{} at {at}", message.escape_ascii());
        }
        whole
    }

    #[test]
    fn accepts_lines_and_keeps_dots() {
        for message in [&b""[..], b"a: b\r\n\r\n.\r\n..\r\n", b"\r\n"] {
            let content = read(message);
            assert_eq!(
                (content.defect, content.ends_line),
                (None, true),
                "{}",
                message.escape_ascii()
            );
        }
        assert!(!read(b"a: b\r\n\r\nx").ends_line);
        assert!(read("a: b\r\n\r\n\u{e9}\r\n".as_bytes()).eight_bit);
    }

    #[test]
    fn finds_the_first_defect() {
        let long = [b"a: b\r\n".to_vec(), vec![b'x'; 999], b"\r\n".to_vec()].concat();
        for (message, defect) in [
            (&b"a\nb\r\n"[..], Defect::BareLf(1)),
            (b"a\r\nb\rc\r\n", Defect::BareCr(2)),
            (b"a\r\r\n", Defect::BareCr(1)),
            (b"a\r\n\r", Defect::BareCr(2)),
            (b"a\r\n\r\n\r\n\0\r\n\n", Defect::Nul(4)),
            (&long, Defect::LongLine(2)),
        ] {
            assert_eq!(read(message).defect, Some(defect), "{}", message.escape_ascii());
        }
        let short = [b"a: b\r\n".to_vec(), vec![b'x'; 998], b"\r\n".to_vec()].concat();
        assert_eq!(read(&short).defect, None);
    }

    #[test]
    fn tells_a_defect_of_the_header_from_others() {
        for (message, header) in [
            (&b"a: b\r\n\r\n\0\n\r"[..], None),
            (b"a: b\n\n\r\n\r\nx\r\n", Some(Defect::BareLf(1))),
            (b"a: b\r\n\n\r\nx\r\n", Some(Defect::BareLf(2))),
            (b"a: b\0", Some(Defect::Nul(1))),
        ] {
            let content = read(message);
            assert_eq!(content.header_defect, header, "{}", message.escape_ascii());
            assert!(content.defect.is_some());
        }
    }
}
