//! Parser for a remote's replies (RFC 5321 section 4.2): line by line, bounded and sanitised.

use host_mail::{Reply, StatusCode};

/// Longest line in bytes, without the line end. RFC 5321 section 4.5.3.1.5 allows 512 in all; the limit is higher
/// because explanations with links are often longer.
pub(super) const MAX_LINE: usize = 2048;
/// Maximum lines of a reply.
const MAX_LINES: usize = 128;
/// Bytes of text kept of a reply; the rest is read and dropped.
const MAX_TEXT: usize = 8 * 1024;

/// Error in a reply. The dialogue cannot continue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    /// The line does not begin with a reply code.
    #[error("not an SMTP reply: {0:?}")]
    NotAReply(String),
    /// The code changed between the lines of a reply.
    #[error("a reply changes its code from {0} to {1}")]
    MixedCodes(u16, u16),
    /// A line exceeds the maximum length.
    #[error("a reply line is longer than {MAX_LINE} bytes")]
    LineTooLong,
    /// A reply exceeds the maximum number of lines.
    #[error("a reply has more than {MAX_LINES} lines")]
    TooManyLines,
}

/// Collects the lines of a reply.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    code: Option<u16>,
    status: Option<StatusCode>,
    text: String,
    lines: usize,
}

impl ReplyReader {
    /// Adds a line, given without the line end. Returns the reply if the line was the last.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, BadReply> {
        let (code, more, text) = split(line)?;
        match self.code {
            Some(first) if first != code => return Err(BadReply::MixedCodes(first, code)),
            _ => self.code = Some(code),
        }
        self.lines += 1;
        if self.lines > MAX_LINES {
            return Err(BadReply::TooManyLines);
        }
        self.append(code, text);
        if more {
            return Ok(None);
        }
        let done = std::mem::take(self);
        Ok(Some(Reply {
            code,
            status: done.status,
            text: done.text,
            remote: None,
        }))
    }

    /// Keeps the text of a line. The enhanced status code is in each line of a reply (RFC 2034 section 4) and is kept
    /// once.
    fn append(&mut self, code: u16, text: &[u8]) {
        let readable = readable(text);
        let (status, rest) = split_status(code, &readable);
        if self.lines == 1 {
            self.status = status;
        } else {
            self.text.push('\n');
        }
        let kept = if status.is_some() && status == self.status {
            rest
        } else {
            &readable
        };
        let room = MAX_TEXT.saturating_sub(self.text.len());
        self.text
            .push_str(&kept[..kept.floor_char_boundary(room.min(kept.len()))]);
    }
}

/// Splits a line into the code, a flag for further lines, and the text.
fn split(line: &[u8]) -> Result<(u16, bool, &[u8]), BadReply> {
    let bad = || BadReply::NotAReply(readable(&line[..line.len().min(80)]));
    let (digits, rest) = line.split_at_checked(3).ok_or_else(bad)?;
    let code = match digits {
        [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ => return Err(bad()),
    };
    match rest {
        [] => Ok((code, false, rest)),
        [b' ', text @ ..] => Ok((code, false, text)),
        [b'-', text @ ..] => Ok((code, true, text)),
        _ => Err(bad()),
    }
}

/// Splits off the enhanced status code of a reply's text (RFC 2034). A status of another class than the code is text.
fn split_status(code: u16, text: &str) -> (Option<StatusCode>, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word.parse::<StatusCode>() {
        Ok(status) if u16::from(status.0) == code / 100 => (Some(status), rest),
        _ => (None, text),
    }
}

/// Sanitises text for logs and reports: invalid UTF-8 becomes U+FFFD, control characters become `?`.
fn readable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn read(lines: &[&[u8]]) -> Result<Option<Reply>, BadReply> {
        let mut reader = ReplyReader::default();
        for (number, line) in lines.iter().enumerate() {
            let reply = reader.line(line)?;
            if reply.is_some() {
                assert_eq!(number + 1, lines.len(), "ended early");
                return Ok(reply);
            }
        }
        Ok(None)
    }

    #[test]
    fn accepts_every_form_of_a_reply() {
        for (lines, expected) in [
            (&[&b"250 OK"[..]][..], Reply::bare(250, "OK")),
            (&[b"250"], Reply::bare(250, "")),
            (&[b"250 "], Reply::bare(250, "")),
            (&[b"250 2.1.5 fine"], Reply::new(250, (2, 1, 5), "fine")),
            (&[b"550 5.1.1"], Reply::new(550, (5, 1, 1), "")),
            (
                &[b"550-5.1.1 no", b"550 5.1.1 such user"],
                Reply::new(550, (5, 1, 1), "no\nsuch user"),
            ),
            (
                &[b"550-5.1.1 no", b"550 such user"],
                Reply::new(550, (5, 1, 1), "no\nsuch user"),
            ),
            // A status of another class is text.
            (&[b"250 5.1.1 odd"], Reply::bare(250, "5.1.1 odd")),
            (&[b"550 5.1 odd"], Reply::bare(550, "5.1 odd")),
            (&[b"451 \x1b[2J\x00\xff"], Reply::bare(451, "?[2J?\u{fffd}")),
        ] {
            assert_eq!(read(lines), Ok(Some(expected)), "{lines:?}");
        }
        assert_eq!(read(&[b"250-one", b"250-two"]), Ok(None));
    }

    #[test]
    fn refuses_malformed_replies() {
        for line in [
            &b""[..],
            b"2",
            b"25",
            b"25x ok",
            b"150 early",
            b"650 late",
            b"2500 long",
            b"250_ok",
            b"HTTP/1.1 400 Bad Request",
            b"\xff\xfe\xfd",
        ] {
            assert!(matches!(read(&[line]), Err(BadReply::NotAReply(_))), "{line:?}");
        }
        assert_eq!(read(&[b"250-a", b"251 b"]), Err(BadReply::MixedCodes(250, 251)));
    }

    #[test]
    fn bounds_lines_and_text() {
        let mut reader = ReplyReader::default();
        let endless = (0..=MAX_LINES).find_map(|_| reader.line(b"250-more").err());
        assert_eq!(endless, Some(BadReply::TooManyLines));

        let long = [b"250-".as_slice(), &[b'x'; MAX_LINE - 4]].concat();
        let mut reader = ReplyReader::default();
        for _ in 0..20 {
            assert_eq!(reader.line(&long), Ok(None));
        }
        let reply = reader.line(b"250 end").expect("a reply").expect("complete");
        assert!(reply.text.len() <= MAX_TEXT + 20, "{}", reply.text.len());
    }

    #[test]
    fn truncation_never_splits_a_character() {
        let line = [b"250-".as_slice(), "é".repeat(1000).as_bytes(), b"x"].concat();
        let mut reader = ReplyReader::default();
        for _ in 0..10 {
            assert_eq!(reader.line(&line), Ok(None));
        }
    }

    fn status(class: u16) -> impl Strategy<Value = Option<StatusCode>> {
        let class = u8::try_from(class).expect("a digit");
        let known = matches!(class, 2 | 4 | 5);
        (0..1000_u16, 0..1000_u16, any::<bool>())
            .prop_map(move |(subject, detail, some)| (known && some).then_some(StatusCode(class, subject, detail)))
    }

    fn reply() -> impl Strategy<Value = Reply> {
        let line = "[a-zA-Zé漢:/-]{0,20}( [a-z.]{1,10}){0,3}";
        (200..600_u16)
            .prop_flat_map(move |code| (Just(code), status(code / 100), vec(line, 1..6)))
            .prop_map(|(code, status, lines)| Reply {
                code,
                status,
                text: lines.join("\n"),
                remote: None,
            })
    }

    fn nearly_a_line() -> impl Strategy<Value = Vec<u8>> {
        let start = select(vec![
            "250 ",
            "250-",
            "250",
            "550-5.1.1 ",
            "550 5.1.1",
            "550-4.1.1 ",
            "199 ",
            "25",
            "",
        ]);
        let rest = prop_oneof![
            vec(any::<u8>(), 0..30),
            (0..MAX_LINE).prop_map(|length| "é".repeat(length / 2).into_bytes()),
        ];
        (start, rest).prop_map(|(start, rest)| [start.as_bytes(), &rest].concat())
    }

    proptest! {
        #[test]
        fn reply_round_trips_through_the_wire(reply in reply()) {
            let mut octets = Vec::new();
            reply.write_to(&mut octets);
            let lines: Vec<&[u8]> = octets
                .strip_suffix(b"\r\n")
                .expect("a line end")
                .split(|octet| *octet == b'\n')
                .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
                .collect();
            prop_assert_eq!(read(&lines), Ok(Some(reply)));
        }

        #[test]
        fn any_lines_are_a_bounded_readable_reply_or_refused(lines in vec(nearly_a_line(), 0..12)) {
            let mut reader = ReplyReader::default();
            for line in &lines {
                match reader.line(line) {
                    Ok(Some(reply)) => {
                        prop_assert!((200..600).contains(&reply.code));
                        prop_assert!(reply.text.len() <= MAX_TEXT + MAX_LINES);
                        prop_assert!(reply.text.split('\n').all(|line| !line.contains(char::is_control)));
                        prop_assert!(reply.status.is_none_or(|status| u16::from(status.0) == reply.code / 100));
                    }
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        }
    }
}
