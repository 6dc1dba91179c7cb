//! Dot stuffing: the octets of a message as DATA carries them (RFC 5321 section 4.5.2).

use memchr::memchr2;

/// Doubles leading dots and turns every line end into CRLF.
///
/// The spool holds strict CRLF. A bare CR or LF is still turned into a line end here, so that no content can contain a
/// sequence that another host takes for the end of data.
#[derive(Debug)]
pub(super) struct DotStuffer {
    at_line_start: bool,
    after_cr: bool,
}

impl DotStuffer {
    /// Starts at the beginning of a message.
    pub(super) fn new() -> Self {
        Self {
            at_line_start: true,
            after_cr: false,
        }
    }

    /// Appends the next part of the message to `out`.
    pub(super) fn push(&mut self, part: &[u8], out: &mut Vec<u8>) {
        out.reserve(part.len() + part.len() / 16);
        let mut rest = part;
        while let Some(first) = rest.first() {
            if self.after_cr {
                self.end_line(out);
                if *first == b'\n' {
                    rest = &rest[1..];
                    continue;
                }
            }
            if self.at_line_start && *first == b'.' {
                out.push(b'.');
            }
            // The rest of the line is copied unchanged.
            let end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            out.extend_from_slice(&rest[..end]);
            self.at_line_start &= end == 0;
            match rest.get(end) {
                Some(b'\r') => self.after_cr = true,
                Some(_) => self.end_line(out),
                None => {}
            }
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }

    /// Ends the last line, if necessary, and appends the final dot.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) {
        if self.after_cr || !self.at_line_start {
            self.end_line(out);
        }
        out.extend_from_slice(b".\r\n");
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
        self.at_line_start = true;
        self.after_cr = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;

    fn stuff(message: &[u8], step: usize) -> Vec<u8> {
        let (mut stuffer, mut out) = (DotStuffer::new(), Vec::new());
        for part in message.chunks(step) {
            stuffer.push(part, &mut out);
        }
        stuffer.finish(&mut out);
        out
    }

    #[test]
    fn doubles_dots_and_sends_a_single_end_of_data() {
        for (message, expected) in [
            (&b""[..], &b".\r\n"[..]),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b".\r\n", b"..\r\n.\r\n"),
            (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a.b\r\n..c\r\n", b"a.b\r\n...c\r\n.\r\n"),
            (b"a\r", b"a\r\n.\r\n"),
            // Bare CR and LF never reach a remote unchanged.
            (b"a\n.\nb", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\r.\rb", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\n\r\n.\r\n", b"a\r\n\r\n..\r\n.\r\n"),
            (b"a\r\r\n", b"a\r\n\r\n.\r\n"),
        ] {
            for step in 1..=message.len().max(1) {
                assert_eq!(stuff(message, step), expected, "{message:?} in steps of {step}");
            }
        }
    }

    /// Stuffs the message in parts that end at `cuts`.
    fn stuff_at(message: &[u8], cuts: &[Index]) -> Vec<u8> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(message.len() + 1)).collect();
        cuts.sort_unstable();
        let (mut stuffer, mut out, mut at) = (DotStuffer::new(), Vec::new(), 0);
        for cut in cuts {
            stuffer.push(&message[at..cut], &mut out);
            at = cut;
        }
        stuffer.push(&message[at..], &mut out);
        stuffer.finish(&mut out);
        out
    }

    /// Removes the stuffing from data that ends with the end of data: reads line by line, without states.
    fn unstuff(data: &[u8]) -> Vec<u8> {
        let text = data.strip_suffix(b".\r\n").expect("the end of data");
        let mut message = Vec::new();
        for line in text.split_inclusive(|octet| *octet == b'\n') {
            assert!(line != b".\r\n", "an end of data inside");
            assert!(line.ends_with(b"\r\n"), "a line without CRLF");
            let inner = &line[..line.len() - 2];
            assert!(!inner.contains(&b'\r'), "a bare CR");
            message.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
        message
    }

    /// Generates messages of strict CRLF lines, most of which contain dots.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            select(vec!["", ".", "..", ".a", "a.", "a"]).prop_map(|line| line.as_bytes().to_vec()),
            vec(
                any::<u8>().prop_filter("no line end", |octet| !b"\r\n".contains(octet)),
                0..20
            ),
        ];
        vec(line, 0..20).prop_map(|lines| {
            lines
                .into_iter()
                .flat_map(|line| [&line[..], b"\r\n"].concat())
                .collect()
        })
    }

    /// Generates octets with every mixture of CR, LF and dots.
    fn octets() -> impl Strategy<Value = Vec<u8>> {
        vec(select(b"\r\n\r\n..a\0\xff".to_vec()), 0..60)
    }

    proptest! {
        #[test]
        fn unstuffing_gives_the_message_in_any_parts(message in message(), cuts in vec(any::<Index>(), 0..6)) {
            prop_assert_eq!(unstuff(&stuff_at(&message, &cuts)), message);
        }

        #[test]
        fn any_octets_are_sent_as_strict_lines_in_any_parts(octets in octets(), cuts in vec(any::<Index>(), 0..6)) {
            let text: String = octets.iter().map(|octet| char::from(*octet)).collect();
            let mut strict = text.replace("\r\n", "\n").replace('\r', "\n");
            if !strict.is_empty() && !strict.ends_with('\n') {
                strict.push('\n');
            }
            let expected: Vec<u8> = strict.replace('\n', "\r\n").chars().map(|c| u8::try_from(c).expect("an octet")).collect();
            prop_assert_eq!(unstuff(&stuff_at(&octets, &cuts)), expected);
        }
    }
}
