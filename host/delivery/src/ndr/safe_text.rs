//! Makes untrusted text safe for lines of a message (RFC 5322 section 2.1.1).

use host_events::escape;
use host_mail::Reply;

/// Preferred line width in bytes; lines are broken at spaces.
const WIDTH: usize = 76;
/// Length in bytes at which a word without spaces is broken; below the 998 of RFC 5322.
const MAX_WORD: usize = 900;

/// Returns text as a single line of at most `limit` bytes, with control and direction-changing characters escaped.
pub(super) fn one_line(text: &str, limit: usize) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let mut line = escape(&words.join(" "));
    if line.len() > limit {
        let mut end = limit.saturating_sub(3);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push_str("...");
    }
    line
}

/// Returns a reply as a single line of at most 2,000 bytes.
pub(super) fn reply(reply: &Reply) -> String {
    let status = reply.status.map_or(String::new(), |status| format!("{status} "));
    one_line(&format!("{} {status}{}", reply.code, reply.text), 2000)
}

/// Escapes characters beyond ASCII as `\x{HEX}` (RFC 6533 section 3), for fields that must be ASCII.
pub(super) fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_ascii() {
            true => out.push(c),
            false => out.push_str(&format!("\\x{{{:X}}}", u32::from(c))),
        }
    }
    out
}

/// Encodes lines as quoted-printable (RFC 2045 section 6.7). CRLF stays a line end.
pub(super) fn quoted_printable(bytes: &[u8]) -> Vec<u8> {
    /// Maximum characters of a line.
    const MAX_LINE: usize = 76;
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 4);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        let mut column = 0;
        for (at, byte) in text.iter().enumerate() {
            let is_last = at + 1 == text.len();
            let plain = matches!(byte, b'!'..=b'<' | b'>'..=b'~') || (matches!(byte, b' ' | b'\t') && !is_last);
            let width = if plain { 1 } else { 3 };
            // A soft line break needs a column of its own.
            if column + width + usize::from(!is_last) > MAX_LINE {
                out.extend_from_slice(b"=\r\n");
                column = 0;
            }
            match plain {
                true => out.push(*byte),
                false => out.extend_from_slice(format!("={byte:02X}").as_bytes()),
            }
            column += width;
        }
        if text.len() < line.len() {
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

/// Appends a field `Name: value`, folded at spaces (RFC 5322 section 2.2.3).
pub(super) fn field(out: &mut String, name: &str, value: &str) {
    wrap(out, &format!("{name}: "), " ", value);
}

/// Appends a paragraph of text, every line indented.
pub(super) fn paragraph(out: &mut String, indent: &str, text: &str) {
    wrap(out, indent, indent, text);
}

/// Breaks `text` at spaces. `first` begins the first line, `later` every other line.
fn wrap(out: &mut String, first: &str, later: &str, text: &str) {
    out.push_str(first);
    let (mut column, mut at_start) = (first.len(), true);
    for word in text.split_whitespace().flat_map(split_long_word) {
        if !at_start && column + 1 + word.len() > WIDTH {
            out.push_str("\r\n");
            out.push_str(later);
            (column, at_start) = (later.len(), true);
        }
        if !at_start {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
        at_start = false;
    }
    out.push_str("\r\n");
}

/// Splits a word that is too long for a line.
fn split_long_word(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = rest.len().min(MAX_WORD);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, later) = rest.split_at(end);
        rest = later;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_becomes_a_single_short_line() {
        assert_eq!(one_line("a\r\nBcc: b\t c\u{202e}\0", 100), "a Bcc: b c\\u{202e}\\u{0}");
        assert_eq!(one_line("éééé", 6), "é...");
        assert_eq!(ascii("naïve"), "na\\x{EF}ve");
    }

    #[test]
    fn quoted_printable_keeps_every_byte_in_short_lines() {
        let text = format!(
            "Subject: Gr\u{fc}\u{df}e = \r\nX: {} \u{e9}\r\n\r\nlast ",
            "y".repeat(200)
        );
        let encoded = quoted_printable(text.as_bytes());
        assert!(encoded.is_ascii());
        assert!(
            encoded.split(|byte| *byte == b'\n').all(|line| line.len() <= 77),
            "76 and CR"
        );
        let message = [b"Content-Transfer-Encoding: quoted-printable\r\n\r\n", &encoded[..]].concat();
        let parsed = mail_parser::MessageParser::default()
            .parse(&message)
            .expect("a message");
        assert_eq!(parsed.parts[0].contents(), text.as_bytes());
    }

    #[test]
    fn multiline_reply_becomes_a_single_line() {
        assert_eq!(
            reply(&Reply::new(550, (5, 1, 1), "no\nsuch / user")),
            "550 5.1.1 no such / user"
        );
        assert_eq!(reply(&Reply::bare(554, "x".repeat(3000))).len(), 2000);
    }

    #[test]
    fn folds_fields_and_splits_long_words() {
        let mut out = String::new();
        field(&mut out, "X", &format!("{} {} tail", "a ".repeat(60), "b".repeat(2000)));
        for line in out.trim_end().split("\r\n") {
            assert!(line.len() <= MAX_WORD + 1, "{}", line.len());
        }
        assert!(out.lines().skip(1).all(|line| line.starts_with(' ')));
        assert_eq!(out.replace("\r\n", "").matches('b').count(), 2000);
        let mut out = String::new();
        field(&mut out, "X", "");
        assert_eq!(out, "X: \r\n");
    }
}
