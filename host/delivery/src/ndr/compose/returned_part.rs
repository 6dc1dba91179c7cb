//! The returned original: complete, as the header, or left out.

use std::io;

use host_contract::ReturnContent;
use host_mail::{Content, HeaderBlock};

/// Maximum bytes of an original that is returned complete; of a larger original the header is returned.
const MAX_FULL: u64 = 1024 * 1024;
/// Maximum bytes of a returned header.
const MAX_HEADERS: usize = 64 * 1024;
/// Maximum bytes of a line, without CRLF (RFC 5322 section 2.1.1).
const MAX_LINE: usize = 998;

/// The part of the original that is returned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Returned {
    Nothing,
    Headers { bytes: Vec<u8>, eight_bit: bool },
    Full { eight_bit: bool },
}

/// Reason for which the header is returned in place of the complete original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truncation {
    /// The original is larger than 1 MiB.
    TooLarge,
    /// The original has bytes or lines that need `binary` transfer encoding.
    NotMail,
}

impl Returned {
    /// Media type and transfer encoding (RFC 6522 section 3, RFC 6533 section 5).
    pub fn kind(&self, utf8: bool) -> Option<(&'static str, &'static str)> {
        let kind = match (self, utf8) {
            (Self::Nothing, _) => return None,
            (Self::Headers { .. }, false) => "text/rfc822-headers",
            (Self::Headers { .. }, true) => "message/global-headers",
            (Self::Full { .. }, false) => "message/rfc822",
            (Self::Full { .. }, true) => "message/global",
        };
        Some((kind, if self.is_eight_bit() { "8bit" } else { "7bit" }))
    }

    pub fn is_eight_bit(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Headers { eight_bit, .. } | Self::Full { eight_bit } => *eight_bit,
        }
    }
}

/// Returns the part of the original to return if the plan requests `requested`.
pub(crate) fn returned(
    requested: ReturnContent,
    content: &dyn Content,
    header: &HeaderBlock,
) -> io::Result<(Returned, Option<Truncation>)> {
    match requested {
        ReturnContent::Nothing => Ok((Returned::Nothing, None)),
        ReturnContent::Headers => Ok((headers(header), None)),
        ReturnContent::Full if content.size() > MAX_FULL => Ok((headers(header), Some(Truncation::TooLarge))),
        ReturnContent::Full => Ok(match scan(content)? {
            Some(eight_bit) => (Returned::Full { eight_bit }, None),
            None => (headers(header), Some(Truncation::NotMail)),
        }),
    }
}

/// True if the content is 8bit, false if 7bit; `None` if the content needs `binary` (RFC 2045 sections 2.7 to 2.9).
fn scan(content: &dyn Content) -> io::Result<Option<bool>> {
    let (mut offset, mut eight_bit, mut line, mut last) = (0, false, 0, 0);
    loop {
        let piece = content.read(offset, 64 * 1024)?;
        if piece.is_empty() {
            // A bare CR at the very end.
            return Ok((last != b'\r').then_some(eight_bit));
        }
        offset += piece.len() as u64;
        for &byte in &piece {
            if byte == 0 || (byte == b'\n') != (last == b'\r') {
                return Ok(None);
            }
            line = if byte == b'\n' { 0 } else { line + 1 };
            // The CR counts, too.
            if line > MAX_LINE + 1 {
                return Ok(None);
            }
            eight_bit |= byte > 127;
            last = byte;
        }
    }
}

/// Returns the header block in lines that mail can carry: bounded, with bare CR and NUL replaced by `?`.
fn headers(header: &HeaderBlock) -> Returned {
    let block = header.as_bytes();
    let mut bytes = Vec::new();
    for line in block[..block.len().min(MAX_HEADERS)].split_inclusive(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        for (at, piece) in line.chunks(MAX_LINE - 1).enumerate() {
            if at > 0 {
                bytes.extend_from_slice(b"\r\n ");
            }
            bytes.extend(piece.iter().map(|b| if matches!(b, 0 | b'\r') { b'?' } else { *b }));
        }
        bytes.extend_from_slice(b"\r\n");
    }
    let eight_bit = !bytes.is_ascii();
    Returned::Headers { bytes, eight_bit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_mail::InMemory;

    fn full(bytes: &[u8]) -> (Returned, Option<Truncation>) {
        let content = InMemory(bytes.to_vec().into());
        let header = HeaderBlock::read(&content).expect("in memory");
        returned(ReturnContent::Full, &content, &header).expect("in memory")
    }

    #[test]
    fn content_that_needs_binary_is_returned_as_headers() {
        assert_eq!(full(b"A: b\r\n\r\nx\r\n"), (Returned::Full { eight_bit: false }, None));
        assert_eq!(
            full(b"A: b\r\n\r\n\xff\r\n"),
            (Returned::Full { eight_bit: true }, None)
        );
        let line = |n| [b"A: b\r\n\r\n".to_vec(), vec![b'x'; n], b"\r\n".to_vec()].concat();
        assert_eq!(full(&line(998)), (Returned::Full { eight_bit: false }, None));
        for bad in [
            &b"A: b\r\n\r\nx\n"[..],
            b"A: b\r\n\r\nx\ry",
            b"A: b\r\n\r\nx\r",
            b"A: b\r\n\r\nx\0",
            &line(999),
        ] {
            let (kind, truncation) = full(bad);
            assert!(matches!(kind, Returned::Headers { .. }), "{bad:?}");
            assert_eq!(truncation, Some(Truncation::NotMail));
        }
        let large = [b"A: b\r\n\r\n".to_vec(), b"x\r\n".repeat(400_000)].concat();
        assert_eq!(full(&large).1, Some(Truncation::TooLarge));
    }

    #[test]
    fn headers_are_bounded_and_sendable() {
        let text = format!(
            "A: {}\r\nB: x\0y\rz\nC: \u{e9}\r\n{}",
            "a".repeat(3000),
            "D: d\r\n".repeat(20_000)
        );
        let header = HeaderBlock::read(&InMemory(text.into())).expect("in memory");
        let Returned::Headers { bytes, eight_bit } = headers(&header) else {
            panic!("headers")
        };
        assert!(eight_bit && bytes.len() < MAX_HEADERS + 1000);
        for line in bytes.strip_suffix(b"\r\n").expect("whole lines").split(|b| *b == b'\n') {
            assert!(line.len() <= MAX_LINE + 1, "{}", line.len());
            assert!(!line.contains(&0) && !line[..line.len() - 1].contains(&b'\r'));
        }
    }
}
