//! Lines that are safe to put into a message, whatever they are made of (RFC 5322 section 2.1.1).

use host_events::escape;
use host_mail::Reply;

/// Where lines are broken if they can be.
const WIDTH: usize = 76;
/// Where they are broken if they must be; below the 998 of RFC 5322.
const HARD: usize = 900;

/// One line without control or direction-changing characters, at most `limit` bytes.
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

/// A reply on one line, at most 2,000 bytes of it.
pub(super) fn reply(reply: &Reply) -> String {
    let status = reply.status.map_or(String::new(), |status| format!("{status} "));
    one_line(&format!("{} {status}{}", reply.code, reply.text), 2000)
}

/// What is not ASCII becomes `?`: for fields that may hold nothing else.
pub(super) fn ascii(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}

/// Appends `Name: value` folded at its spaces (RFC 5322 section 2.2.3).
pub(super) fn field(out: &mut String, name: &str, value: &str) {
    wrap(out, &format!("{name}: "), " ", value);
}

/// Appends a paragraph of text, every line indented.
pub(super) fn paragraph(out: &mut String, indent: &str, text: &str) {
    wrap(out, indent, indent, text);
}

/// Breaks `text` at its spaces. `later` begins every line but the first.
fn wrap(out: &mut String, first: &str, later: &str, text: &str) {
    out.push_str(first);
    let (mut column, mut at_start) = (first.len(), true);
    for word in text.split_whitespace().flat_map(pieces) {
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

/// A word that no line can hold is cut.
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = rest.len().min(HARD);
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
    fn hostile_text_stays_one_short_line() {
        assert_eq!(one_line("a\r\nBcc: b\t c\u{202e}\0", 100), "a Bcc: b c\\u{202e}\\u{0}");
        assert_eq!(one_line("éééé", 6), "é...");
        assert_eq!(ascii("naïve"), "na?ve");
    }

    #[test]
    fn a_reply_of_several_lines_is_one() {
        assert_eq!(
            reply(&Reply::new(550, (5, 1, 1), "no\nsuch / user")),
            "550 5.1.1 no such / user"
        );
        assert_eq!(reply(&Reply::bare(554, "x".repeat(3000))).len(), 2000);
    }

    #[test]
    fn fields_are_folded_and_words_too_long_are_cut() {
        let mut out = String::new();
        field(&mut out, "X", &format!("{} {} tail", "a ".repeat(60), "b".repeat(2000)));
        for line in out.trim_end().split("\r\n") {
            assert!(line.len() <= HARD + 1, "{}", line.len());
        }
        assert!(out.lines().skip(1).all(|line| line.starts_with(' ')));
        assert_eq!(out.replace("\r\n", "").matches('b').count(), 2000);
        let mut out = String::new();
        field(&mut out, "X", "");
        assert_eq!(out, "X: \r\n");
    }
}
