//! The returned original: complete, as the header, or left out.

use std::io;

use crate::ndr::compose::recoded_text::recoded;
use crate::ndr::safe_text::quoted_printable;
use host_contract::ReturnContent;
use host_mail::{Content, HeaderBlock};

/// Maximum bytes of an original that is returned complete; of a larger original the header is returned.
const MAX_FULL: u64 = 1024 * 1024;
/// Maximum bytes of a returned header.
const MAX_HEADERS: usize = 64 * 1024;
/// Maximum bytes of a line, without CRLF (RFC 5322 section 2.1.1).
const MAX_LINE: usize = 998;

/// The part of the original that is returned, in the form in which it goes into the report.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Returned {
    Nothing,
    Headers {
        bytes: Vec<u8>,
        form: HeaderForm,
    },
    Full {
        form: FullForm,
    },
    /// The complete message, its 8-bit text in quoted-printable.
    Recoded {
        bytes: Vec<u8>,
    },
}

/// Form of a returned header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderForm {
    /// ASCII.
    SevenBit,
    /// Octets above 127, encoded as quoted-printable for any host.
    QuotedPrintable { utf8: bool },
    /// UTF-8 as it is, for hosts with SMTPUTF8 (RFC 6533 section 5).
    Global,
}

/// Form of a returned message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FullForm {
    /// ASCII.
    SevenBit,
    /// An ASCII header and a body beyond ASCII, for hosts with 8BITMIME.
    EightBit,
    /// A header in UTF-8, for hosts with SMTPUTF8.
    Global,
}

/// Reason for which the header is returned in place of the complete original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truncation {
    /// The original is larger than 1 MiB.
    TooLarge,
    /// The original has bytes or lines that need `binary` transfer encoding.
    NotMail,
    /// The original is 8bit and more than a single text, and the report must be 7bit.
    EightBit,
}

impl Returned {
    /// Media type and transfer encoding (RFC 6522 section 3, RFC 6533 section 5), by the content.
    pub fn kind(&self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Self::Nothing => return None,
            Self::Headers { form, .. } => match form {
                HeaderForm::SevenBit => ("text/rfc822-headers", "7bit"),
                HeaderForm::QuotedPrintable { utf8: false } => ("text/rfc822-headers", "quoted-printable"),
                HeaderForm::QuotedPrintable { utf8: true } => {
                    ("text/rfc822-headers; charset=utf-8", "quoted-printable")
                }
                HeaderForm::Global => ("message/global-headers", "8bit"),
            },
            Self::Recoded { .. } => ("message/rfc822", "7bit"),
            Self::Full { form } => match form {
                FullForm::SevenBit => ("message/rfc822", "7bit"),
                FullForm::EightBit => ("message/rfc822", "8bit"),
                FullForm::Global => ("message/global", "8bit"),
            },
        })
    }

    pub fn is_eight_bit(&self) -> bool {
        self.kind().is_some_and(|(_, encoding)| encoding == "8bit")
    }
}

/// Returns the part of the original to return if the plan requests `requested`. With `utf8` every host on the way of the
/// report has SMTPUTF8 and 8BITMIME; without, the part is 7bit.
pub(crate) fn returned(
    requested: ReturnContent,
    content: &dyn Content,
    header: &HeaderBlock,
    utf8: bool,
) -> io::Result<(Returned, Option<Truncation>)> {
    let truncated = |why| Ok((headers(header, utf8), Some(why)));
    match requested {
        ReturnContent::Nothing => Ok((Returned::Nothing, None)),
        ReturnContent::Headers => Ok((headers(header, utf8), None)),
        ReturnContent::Full if content.size() > MAX_FULL => truncated(Truncation::TooLarge),
        ReturnContent::Full => {
            let block = header.as_bytes();
            let form = match scan(content)? {
                None => return truncated(Truncation::NotMail),
                Some(false) => FullForm::SevenBit,
                Some(true) if utf8 && block.is_ascii() => FullForm::EightBit,
                Some(true) if utf8 && std::str::from_utf8(block).is_ok() => FullForm::Global,
                Some(true) => {
                    return match recoded(header, &read_from(content, block.len())?) {
                        Some(bytes) => Ok((Returned::Recoded { bytes }, None)),
                        None => truncated(Truncation::EightBit),
                    };
                }
            };
            Ok((Returned::Full { form }, None))
        }
    }
}

/// Reads the content from an offset to its end, at most 1 MiB.
fn read_from(content: &dyn Content, offset: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let piece = content.read((offset + bytes.len()) as u64, 64 * 1024)?;
        if piece.is_empty() || bytes.len() as u64 > MAX_FULL {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&piece);
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
fn headers(header: &HeaderBlock, utf8: bool) -> Returned {
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
    let is_utf8 = std::str::from_utf8(&bytes).is_ok();
    let form = match bytes.is_ascii() {
        true => HeaderForm::SevenBit,
        false if utf8 && is_utf8 => HeaderForm::Global,
        false => HeaderForm::QuotedPrintable { utf8: is_utf8 },
    };
    if let HeaderForm::QuotedPrintable { .. } = form {
        bytes = quoted_printable(&bytes);
    }
    Returned::Headers { bytes, form }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_mail::InMemory;

    fn full(bytes: &[u8], utf8: bool) -> (Returned, Option<Truncation>) {
        let content = InMemory(bytes.to_vec().into());
        let header = HeaderBlock::read(&content).expect("in memory");
        returned(ReturnContent::Full, &content, &header, utf8).expect("in memory")
    }

    #[test]
    fn whole_message_beyond_ascii_is_returned_only_where_every_hop_takes_it() {
        let form = |bytes: &[u8], utf8| match full(bytes, utf8) {
            (Returned::Full { form }, None) => Ok(form),
            (Returned::Headers { form, .. }, Some(Truncation::EightBit)) => Err(form),
            other => panic!("{other:?}"),
        };
        let (body, utf8, latin1) = (
            b"A: b\r\n\r\n\xff\r\n",
            "A: \u{fc}\r\n\r\nx\r\n".as_bytes(),
            b"A: \xfc\r\n\r\nx",
        );
        assert_eq!(form(body, true), Ok(FullForm::EightBit));
        assert!(matches!(full(body, false), (Returned::Recoded { .. }, None)));
        let parts = b"Content-Type: multipart/mixed\r\n\r\n\xff\r\n";
        assert_eq!(form(parts, false), Err(HeaderForm::SevenBit));
        assert_eq!(form(utf8, true), Ok(FullForm::Global));
        assert_eq!(form(utf8, false), Err(HeaderForm::QuotedPrintable { utf8: true }));
        for hop in [true, false] {
            assert_eq!(form(latin1, hop), Err(HeaderForm::QuotedPrintable { utf8: false }));
        }
    }

    #[test]
    fn content_that_needs_binary_is_returned_as_headers() {
        let seven_bit = FullForm::SevenBit;
        assert_eq!(
            full(b"A: b\r\n\r\nx\r\n", false),
            (Returned::Full { form: seven_bit }, None)
        );
        let line = |n| [b"A: b\r\n\r\n".to_vec(), vec![b'x'; n], b"\r\n".to_vec()].concat();
        assert_eq!(full(&line(998), true), (Returned::Full { form: seven_bit }, None));
        for bad in [
            &b"A: b\r\n\r\nx\n"[..],
            b"A: b\r\n\r\nx\ry",
            b"A: b\r\n\r\nx\r",
            b"A: b\r\n\r\nx\0",
            &line(999),
        ] {
            let (kind, truncation) = full(bad, true);
            assert!(matches!(kind, Returned::Headers { .. }), "{bad:?}");
            assert_eq!(truncation, Some(Truncation::NotMail));
        }
        let large = [b"A: b\r\n\r\n".to_vec(), b"x\r\n".repeat(400_000)].concat();
        assert_eq!(full(&large, true).1, Some(Truncation::TooLarge));
    }

    #[test]
    fn headers_are_bounded_and_sendable() {
        let text = format!(
            "A: {}\r\nB: x\0y\rz\nC: \u{e9}\r\n{}",
            "a".repeat(3000),
            "D: d\r\n".repeat(20_000)
        );
        let header = HeaderBlock::read(&InMemory(text.into())).expect("in memory");
        let Returned::Headers { bytes, form } = headers(&header, true) else {
            panic!("headers")
        };
        assert_eq!(form, HeaderForm::Global);
        assert!(bytes.len() < MAX_HEADERS + 1000);
        for line in bytes.strip_suffix(b"\r\n").expect("whole lines").split(|b| *b == b'\n') {
            assert!(line.len() <= MAX_LINE + 1, "{}", line.len());
            assert!(!line.contains(&0) && !line[..line.len() - 1].contains(&b'\r'));
        }
    }
}
