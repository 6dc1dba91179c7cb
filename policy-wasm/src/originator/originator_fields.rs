//! Originator fields of a header block (RFC 5322 sections 3.6.2 and 3.6.6), found in one pass.
//!
//! Readers of mail disagree about lines that are no fields: one ends the header there, another skips the line, a third
//! joins the pieces of a name. An originator field that only some readers see is therefore an error.

use memchr::memchr;

/// Maximum number of `Resent-From:` and `Resent-Sender:` fields.
const MAX_RESENT: usize = 16;
/// Maximum number of lines of a header; a header of 256 KiB has fewer even if its lines are short.
const MAX_LINES: usize = 10_000;
/// Reason for a header of more lines.
pub const TOO_MANY_LINES: &str = "stands in a header of too many lines";

/// Reason why readers can disagree about the originators of a message; the text completes "FIELD: ".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable {
    /// Name of the originator field.
    pub field: &'static str,
    /// Description for the reply.
    pub reason: &'static str,
}

/// The originator fields of a header, each with its folded value.
#[derive(Debug, Default, PartialEq)]
pub struct OriginatorFields<'a> {
    /// `From:`, at most one (RFC 5322 section 3.6).
    pub from: Option<&'a [u8]>,
    /// `Sender:`, at most one (RFC 5322 section 3.6).
    pub sender: Option<&'a [u8]>,
    /// `Resent-From:` and `Resent-Sender:` of every resent block, with their names.
    pub resent: Vec<(&'static str, &'a [u8])>,
}

/// Names of the originator fields, in lower case, with their usual spelling.
const NAMES: [(&str, &str); 4] = [
    ("from", "From"),
    ("sender", "Sender"),
    ("resent-from", "Resent-From"),
    ("resent-sender", "Resent-Sender"),
];

/// Lengths of the shortest and the longest name in [`NAMES`].
const NAME_LENGTHS: std::ops::RangeInclusive<usize> = 4..=13;

impl<'a> OriginatorFields<'a> {
    /// Finds the originator fields of a header block.
    ///
    /// # Errors
    /// A field occurs twice, has a space in its name, contains a line of white space only, or stands before or behind a
    /// line at which some readers end the header.
    pub fn find(block: &'a [u8]) -> Result<Self, Unreadable> {
        let mut found = Self::default();
        // True behind a line that is no field.
        let mut broken = false;
        // True behind a line of white space only (RFC 5322 section 4.2), if originator fields stand before that line.
        let mut parted = false;
        // The originator field under way: its name and the beginning of its value.
        let mut open: Option<(&'static str, usize)> = None;
        let (mut at, mut lines) = (0, 0);
        while at < block.len() {
            lines += 1;
            if lines > MAX_LINES {
                return Err(unreadable("From", TOO_MANY_LINES));
            }
            let end = memchr(b'\n', &block[at..]).map_or(block.len(), |found| at + found + 1);
            let line = &block[at..end];
            if matches!(line[0], b' ' | b'\t') {
                if line.trim_ascii().is_empty() {
                    if let Some((field, _)) = open {
                        return Err(unreadable(field, "contains a line without text"));
                    }
                    parted |= found != Self::default();
                }
            } else {
                let before = open.take();
                found.close(before, &block[..at])?;
                match field_name(line) {
                    Some(name) => {
                        if let Some(field) = originator(name) {
                            if broken {
                                return Err(unreadable(field, "stands behind a line that is no header field"));
                            }
                            if parted {
                                return Err(unreadable(field, "stands behind a line without text"));
                            }
                            open = Some((field, at + name.len() + 1));
                        }
                    }
                    None => {
                        if let Some(field) = resembles(line) {
                            return Err(unreadable(field, "has a name that is no field name"));
                        }
                        // Some readers join the line to the field.
                        if let Some((field, _)) = before {
                            return Err(unreadable(field, "stands before a line that is no header field"));
                        }
                        broken = true;
                    }
                }
            }
            at = end;
        }
        found.close(open, block)?;
        Ok(found)
    }

    /// Returns the text of every field that a reader could take for `From:`; `None` if there are more than `limit` bytes.
    pub fn every_from(block: &'a [u8], limit: usize) -> Option<Vec<&'a [u8]>> {
        let mut found: Vec<&[u8]> = Vec::new();
        let mut length = 0;
        let mut open = None;
        let mut at = 0;
        while at < block.len() {
            let end = memchr(b'\n', &block[at..]).map_or(block.len(), |found| at + found + 1);
            let line = &block[at..end];
            if !matches!(line[0], b' ' | b'\t') {
                if let Some(start) = open.take() {
                    found.push(&block[start..at]);
                    length += at - start;
                    if length > limit {
                        return None;
                    }
                }
                open = (resembles(line) == Some("From")).then_some(at);
            }
            at = end;
        }
        if let Some(start) = open {
            found.push(&block[start..]);
            length += at - start;
        }
        (length <= limit).then_some(found)
    }

    /// Adds the field that ends with `block`.
    fn close(&mut self, open: Option<(&'static str, usize)>, block: &'a [u8]) -> Result<(), Unreadable> {
        let Some((field, start)) = open else {
            return Ok(());
        };
        let value = &block[start..];
        let slot = match field {
            "From" => &mut self.from,
            "Sender" => &mut self.sender,
            _ if self.resent.len() < MAX_RESENT => {
                self.resent.push((field, value));
                return Ok(());
            }
            _ => return Err(unreadable(field, "occurs too often")),
        };
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(unreadable(field, "occurs twice")),
        }
    }
}

fn unreadable(field: &'static str, reason: &'static str) -> Unreadable {
    Unreadable { field, reason }
}

/// Returns the name of a field: printable ASCII without a colon (RFC 5322 section 3.6.8), directly before the colon.
fn field_name(line: &[u8]) -> Option<&[u8]> {
    let name = &line[..memchr(b':', line)?];
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}

/// Returns the usual spelling of an originator field's name.
fn originator(name: &[u8]) -> Option<&'static str> {
    if !NAME_LENGTHS.contains(&name.len()) {
        return None;
    }
    let known = NAMES
        .iter()
        .find(|(lower, _)| name.eq_ignore_ascii_case(lower.as_bytes()));
    known.map(|(_, usual)| *usual)
}

/// Returns the originator field whose name a line spells with other characters in between, such as `Send er:`. The text
/// before the colon counts, or the whole line.
fn resembles(line: &[u8]) -> Option<&'static str> {
    // Most lines begin with another letter.
    let first = line.iter().find(|byte| byte.is_ascii_alphabetic())?;
    if !matches!(first.to_ascii_lowercase(), b'f' | b's' | b'r') {
        return None;
    }
    let text = &line[..memchr(b':', line).unwrap_or(line.len())];
    let mut letters = text.iter().filter(|byte| byte.is_ascii_alphabetic() || **byte == b'-');
    let mut name = [0; 14];
    let mut length = 0;
    for letter in letters.by_ref().take(name.len()) {
        name[length] = *letter;
        length += 1;
    }
    originator(&name[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_field_with_its_folded_value() {
        let block = b"Received: x\r\nFrom:\r\n anna@example.org\r\nSubject: y\r\nSENDER: z\r\nResent-From: q\r\n";
        let found = OriginatorFields::find(block).unwrap();
        assert_eq!(found.from, Some(&b"\r\n anna@example.org\r\n"[..]));
        assert_eq!(found.sender, Some(&b" z\r\n"[..]));
        assert_eq!(found.resent, [("Resent-From", &b" q\r\n"[..])]);
        assert_eq!(OriginatorFields::find(b""), Ok(OriginatorFields::default()));
        assert!(OriginatorFields::find(b"From: a").unwrap().from.is_some());
    }

    #[test]
    fn refuses_fields_that_readers_see_differently() {
        for (block, field) in [
            ("From: a\r\nfrom: a\r\n", "From"),
            ("Sender: a\r\nX: y\r\nSender: a\r\n", "Sender"),
            ("From : a\r\n", "From"),
            ("Send er: a\r\n", "Sender"),
            ("F\0rom: a\r\n", "From"),
            ("F\u{e9}rom: a\r\nSend\ter: a\r\n", "From"),
            ("From\r\n a\r\n", "From"),
            ("X\r\n \r\nFrom: a\r\n", "From"),
            ("no field\r\nFrom: a\r\n", "From"),
            ("From: a\r\nno field\r\nX: y\r\n", "From"),
            ("From: a\r\nX: y\r\n \t\r\nSender: a\r\n", "Sender"),
            ("From: a\r\n \r\n b\r\n", "From"),
            (": x\r\nSender: a\r\n", "Sender"),
        ] {
            assert_eq!(
                OriginatorFields::find(block.as_bytes()).unwrap_err().field,
                field,
                "{block:?}"
            );
        }
    }

    #[test]
    fn limits_the_number_of_lines() {
        let header = |lines: usize| "a:\r\n".repeat(lines) + "From: a\r\n";
        assert!(OriginatorFields::find(header(MAX_LINES - 1).as_bytes()).is_ok());
        let error = OriginatorFields::find(header(MAX_LINES).as_bytes()).unwrap_err();
        assert_eq!(error.reason, TOO_MANY_LINES);
    }

    #[test]
    fn odd_lines_beside_the_originators_are_no_error() {
        for block in [
            "From: a\r\nX: y\r\nno field\r\n",
            "From: a\r\nX: y\r\n \r\n z\r\n",
            "X: y\r\n \r\nFrom: a\r\nSender: a\r\n",
            "Text of a message without a header.\r\nMore.\r\n",
            "From-Line: a\r\nfrom-line: b\r\nX-From: c\r\nX-From: d\r\n",
        ] {
            assert!(OriginatorFields::find(block.as_bytes()).is_ok(), "{block:?}");
        }
    }
}
