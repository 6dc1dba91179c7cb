//! The strict reader of a message after DATA (RFC 5321 sections 2.3.8, 4.1.1.4 and 4.5.2).
//!
//! Only CR LF `.` CR LF ends a message. A bare CR or LF never starts a line and is never repaired: the reader continues
//! to the true end, where the message is refused. No other host's idea of a line end can make this host see a second
//! message ("SMTP smuggling").

use super::replies;
use host_mail::Reply;

/// Maximum length of a text line in octets, without CR LF and without a stuffed dot (RFC 5321 section 4.5.3.1.6).
pub const MAX_TEXT_LINE: usize = 998;

/// Position of the reader within a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinePosition {
    /// Start of a line: after CR LF, and at the beginning of the message.
    LineStart,
    /// Anywhere else.
    Inside,
    /// Behind a CR that may begin a CR LF.
    Cr,
    /// Behind a dot at the start of a line.
    Dot,
    /// Behind a dot at the start of a line and a CR.
    DotCr,
}

/// A defect for which a message is refused, with the line, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// CR without LF.
    BareCr(u64),
    /// LF without CR.
    BareLf(u64),
    /// NUL octet.
    Nul(u64),
    /// Line of more than [`MAX_TEXT_LINE`] octets.
    LongLine(u64),
    /// Octets above 127 without an announcement in MAIL, where the listener demands one.
    EightBit,
}

impl Defect {
    /// Reply to the final dot.
    pub fn reply(self) -> Reply {
        match self {
            Self::BareCr(line) => replies::bare_cr(line),
            Self::BareLf(line) => replies::bare_lf(line),
            Self::Nul(line) => replies::nul(line),
            Self::LongLine(line) => replies::text_line_too_long(line),
            Self::EightBit => replies::undeclared_eight_bit(),
        }
    }
}

/// A part of the input, interpreted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Octets of the message, without the stuffed dot.
    pub content: &'a [u8],
    /// Number of octets of the input that were processed; at least 1 of a non-empty input.
    pub consumed: usize,
    /// True if the message is complete. The rest of the input are commands.
    pub ended: bool,
}

/// Reads a message from input that may be cut anywhere.
#[derive(Debug)]
pub struct DataReader {
    at: LinePosition,
    line: u64,
    length: usize,
    defect: Option<Defect>,
    eight_bit: bool,
}

impl Default for DataReader {
    /// Creates a reader at the start of a line. The CR LF of the DATA command is the CR LF before the first line, so
    /// that a message may be empty (RFC 5321 section 4.1.1.4).
    fn default() -> Self {
        Self {
            at: LinePosition::LineStart,
            line: 1,
            length: 0,
            defect: None,
            eight_bit: false,
        }
    }
}

impl DataReader {
    /// Processes octets from the front of `input`, up to the next stuffed dot, the end of the message or the end of the
    /// input.
    pub fn read<'a>(&mut self, input: &'a [u8]) -> Piece<'a> {
        let mut start = 0;
        while let (LinePosition::Dot | LinePosition::DotCr, Some(byte)) = (self.at, input.get(start)) {
            match (self.at, byte) {
                (LinePosition::Dot, b'\r') => {
                    self.at = LinePosition::DotCr;
                    start += 1;
                }
                (LinePosition::DotCr, b'\n') => {
                    return Piece {
                        content: &[],
                        consumed: start + 1,
                        ended: true,
                    };
                }
                // A stuffed dot is dropped; the next octet begins the line.
                (LinePosition::Dot, _) => self.at = LinePosition::Inside,
                (_, _) => {
                    self.at = LinePosition::Inside;
                    self.note(Defect::BareCr(self.line));
                }
            }
        }
        let (end, consumed) = self.lines(input, start);
        let content = &input[start..end];
        self.eight_bit |= !content.is_ascii();
        Piece {
            content,
            consumed,
            ended: false,
        }
    }

    /// True if the message has octets above 127.
    pub fn has_eight_bit(&self) -> bool {
        self.eight_bit
    }

    /// Returns the first defect of the message. `eight_bit` is true if octets above 127 are allowed.
    pub fn defect(&self, eight_bit: bool) -> Option<Defect> {
        let undeclared = (self.eight_bit && !eight_bit).then_some(Defect::EightBit);
        self.defect.or(undeclared)
    }

    /// Scans lines up to a line that begins with a dot. Returns the end of the content, and the end of the scan.
    fn lines(&mut self, input: &[u8], start: usize) -> (usize, usize) {
        let mut at = start;
        while let Some(byte) = input.get(at) {
            match (self.at, byte) {
                (LinePosition::LineStart, b'.') => {
                    self.at = LinePosition::Dot;
                    return (at, at + 1);
                }
                (LinePosition::Cr, b'\n') => {
                    self.at = LinePosition::LineStart;
                    self.line += 1;
                    self.length = 0;
                    at += 1;
                }
                (LinePosition::Cr, _) => {
                    self.at = LinePosition::Inside;
                    self.note(Defect::BareCr(self.line));
                }
                _ => at += self.text(&input[at..]),
            }
        }
        (at, at)
    }

    /// Scans text up to and including the next CR, LF or NUL. Returns the number of scanned octets.
    fn text(&mut self, input: &[u8]) -> usize {
        let found = memchr::memchr3(b'\r', b'\n', 0, input);
        let length = found.unwrap_or(input.len());
        self.at = LinePosition::Inside;
        self.length += length;
        if self.length > MAX_TEXT_LINE {
            self.note(Defect::LongLine(self.line));
        }
        match found.map(|at| input[at]) {
            None => return length,
            Some(b'\r') => self.at = LinePosition::Cr,
            Some(b'\n') => self.note(Defect::BareLf(self.line)),
            Some(_) => self.note(Defect::Nul(self.line)),
        }
        length + 1
    }

    fn note(&mut self, defect: Defect) {
        self.defect.get_or_insert(defect);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Input, message, octets left for the command loop, and the defect of 7-bit mail.
    type Case<'a> = (&'a [u8], &'a [u8], &'a [u8], Option<Defect>);
    /// Expected message, left octets and defect of a [`Case`]; `None` if the end was not found.
    type Outcome = Option<(Vec<u8>, Vec<u8>, Option<Defect>)>;

    /// Reads the input in the given chunks; `None` if the end was not found.
    fn feed(chunks: &[&[u8]]) -> Outcome {
        let mut reader = DataReader::default();
        let mut message = Vec::new();
        for (index, chunk) in chunks.iter().enumerate() {
            let mut rest = *chunk;
            while !rest.is_empty() {
                let piece = reader.read(rest);
                assert!(piece.consumed > 0, "no progress on {}", rest.escape_ascii());
                message.extend_from_slice(piece.content);
                rest = &rest[piece.consumed..];
                if piece.ended {
                    let mut left = rest.to_vec();
                    chunks[index + 1..].iter().for_each(|more| left.extend_from_slice(more));
                    return Some((message, left, reader.defect(false)));
                }
            }
        }
        None
    }

    /// Reads the input whole, cut in two at every place, and octet by octet; all results must be equal.
    fn every_way(input: &[u8]) -> Outcome {
        let whole = feed(&[input]);
        for cut in 0..=input.len() {
            let (head, tail) = input.split_at(cut);
            assert_eq!(feed(&[head, tail]), whole, "{} cut at {cut}", input.escape_ascii());
        }
        let octets: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(feed(&octets), whole, "{} octet by octet", input.escape_ascii());
        whole
    }

    fn check(cases: &[Case<'_>]) {
        for (input, message, left, defect) in cases {
            let expected = Some((message.to_vec(), left.to_vec(), *defect));
            assert_eq!(every_way(input), expected, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn ends_at_the_dot_and_leaves_commands() {
        check(&[
            (b".\r\n", b"", b"", None),
            (b"\r\n.\r\n", b"\r\n", b"", None),
            (b"A: b\r\n\r\nc\r\n.\r\n", b"A: b\r\n\r\nc\r\n", b"", None),
            (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n", None),
            (b"a\r\n.\r\n.\r\n", b"a\r\n", b".\r\n", None),
            (b"\r\n\r\n\r\n.\r\n", b"\r\n\r\n\r\n", b"", None),
        ]);
    }

    #[test]
    fn drops_stuffed_dots_only() {
        check(&[
            (b"..\r\n.\r\n", b".\r\n", b"", None),
            (b"...\r\n.\r\n", b"..\r\n", b"", None),
            (b".a\r\n.\r\n", b"a\r\n", b"", None),
            (b"a.\r\nb.c\r\n.\r\n", b"a.\r\nb.c\r\n", b"", None),
            (b"a\r\n..\r\n..b\r\n.\r\n", b"a\r\n.\r\n.b\r\n", b"", None),
        ]);
    }

    #[test]
    fn ends_a_message_only_at_crlf_dot_crlf() {
        // Each input ends a message for some other server.
        check(&[
            (b"a\n.\n\r\n.\r\n", b"a\n.\n\r\n", b"", Some(Defect::BareLf(1))),
            (b"a\n.\r\nb\r\n.\r\n", b"a\n.\r\nb\r\n", b"", Some(Defect::BareLf(1))),
            (b"a\r\n.\nb\r\n.\r\n", b"a\r\n\nb\r\n", b"", Some(Defect::BareLf(2))),
            (b"a\r.\r\nb\r\n.\r\n", b"a\r.\r\nb\r\n", b"", Some(Defect::BareCr(1))),
            (b"a\r\n.\rb\r\n.\r\n", b"a\r\nb\r\n", b"", Some(Defect::BareCr(2))),
            (b"a\r.\rb\r\n.\r\n", b"a\r.\rb\r\n", b"", Some(Defect::BareCr(1))),
            (b"a\r\r\n.\r\n", b"a\r\r\n", b"", Some(Defect::BareCr(1))),
            (b"a\r\n.\r\r\n.\r\n", b"a\r\n\r\n", b"", Some(Defect::BareCr(2))),
            (b"a\n\r.\r\n\r\n.\r\n", b"a\n\r.\r\n\r\n", b"", Some(Defect::BareLf(1))),
            (b"a\0\r\n.\r\n", b"a\0\r\n", b"", Some(Defect::Nul(1))),
            (b"a\r\n.\0\r\n.\r\n", b"a\r\n\0\r\n", b"", Some(Defect::Nul(2))),
            (b"a\r\n\0.\r\n.\r\n", b"a\r\n\0.\r\n", b"", Some(Defect::Nul(2))),
        ]);
    }

    #[test]
    fn does_not_complete_a_message_without_an_end() {
        for input in [
            &b""[..],
            b".",
            b".\r",
            b"a",
            b"a\r\n",
            b"a\r\n.",
            b"a\r\n.\r",
            b"a.\r\n",
            b"a\n.\n",
            b"a\n.\r\n",
            b"\n.\r\n",
            b"\r.\r\n",
            b"a\r\n..\r\n",
        ] {
            assert_eq!(every_way(input), None, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn ends_every_seven_octet_input_at_the_first_crlf_dot_crlf() {
        const OCTETS: &[u8] = b".\r\na\0";
        for number in 0..OCTETS.len().pow(7) {
            let mut rest = number;
            let mut input: Vec<u8> = std::iter::repeat_with(|| {
                let octet = OCTETS[rest % OCTETS.len()];
                rest /= OCTETS.len();
                octet
            })
            .take(7)
            .collect();
            input.extend_from_slice(b"\r\n.\r\nQUIT");
            // The CR LF of the DATA command counts (RFC 5321 section 4.1.1.4).
            let whole = [b"\r\n", &input[..]].concat();
            let end = memchr::memmem::find(&whole, b"\r\n.\r\n").expect("one is there");
            let (message, left, defect) = feed(&[&input]).expect("one is there");
            assert_eq!(left, &whole[end + 5..], "{}", input.escape_ascii());
            if defect.is_none() {
                let lines = String::from_utf8_lossy(&whole[..end + 2]).replace("\r\n.", "\r\n");
                assert_eq!(message, &lines.as_bytes()[2..], "{}", input.escape_ascii());
            }
        }
    }

    #[test]
    fn reports_the_first_defect() {
        check(&[
            (b"a\nb\rc\0\r\n.\r\n", b"a\nb\rc\0\r\n", b"", Some(Defect::BareLf(1))),
            (
                b"a\r\nb\rc\n\r\n.\r\n",
                b"a\r\nb\rc\n\r\n",
                b"",
                Some(Defect::BareCr(2)),
            ),
        ]);
    }

    #[test]
    fn refuses_unannounced_octets_above_127() {
        check(&[("ä\r\n.\r\n".as_bytes(), "ä\r\n".as_bytes(), b"", Some(Defect::EightBit))]);
        check(&[(b"a\r\n.\r\nNOOP \xff\r\n", b"a\r\n", b"NOOP \xff\r\n", None)]);
        let mut reader = DataReader::default();
        reader.read(b"\xe4\r\n.\r\n");
        assert_eq!(reader.defect(true), None);
    }

    #[test]
    fn limits_lines_to_998_octets_without_the_stuffed_dot() {
        let defect = |line: &[u8]| {
            let input = [b"a\r\n", line, b"\r\n.\r\n"].concat();
            every_way(&input).and_then(|(_, _, defect)| defect)
        };
        assert_eq!(defect(&[b'x'; MAX_TEXT_LINE]), None);
        assert_eq!(defect(&[b'x'; MAX_TEXT_LINE + 1]), Some(Defect::LongLine(2)));
        assert_eq!(defect(&[b'.'; MAX_TEXT_LINE + 1]), None);
        assert_eq!(defect(&[b'.'; MAX_TEXT_LINE + 2]), Some(Defect::LongLine(2)));
    }
}
