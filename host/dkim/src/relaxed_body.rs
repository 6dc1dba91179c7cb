//! The relaxed canonicalization of bodies (RFC 6376 section 3.4.4), in pieces of any size.

/// Relaxed canonicalization of a body that arrives in pieces. Runs of spaces and tabs become a single space, those at
/// the end of a line disappear, and then the empty lines at the end of the body. A body that is not empty ends in CRLF.
///
/// Memory is constant: white space and line ends are counted until octets follow. An LF without CR ends a line, too; a
/// CR without LF is an octet like any other.
///
/// ```
/// let mut canonical = Vec::new();
/// let mut body = host_dkim::RelaxedBody::default();
/// body.push(b"Hello \t you \r\n \r\n", |octets| canonical.extend_from_slice(octets));
/// body.finish(|octets| canonical.extend_from_slice(octets));
/// assert_eq!(canonical, b"Hello you\r\n");
/// ```
#[derive(Debug, Default)]
pub struct RelaxedBody {
    /// True after an octet that belongs to the canonical form.
    has_content: bool,
    /// Line ends since the last octet of the canonical form.
    line_ends: u64,
    /// True if white space stands before the next octet, in the same line.
    is_spaced: bool,
    /// True if the last octet of the last piece is a CR.
    is_after_cr: bool,
}

impl RelaxedBody {
    /// Passes the canonical form of the next octets to `sink`, in one or more parts.
    pub fn push(&mut self, piece: &[u8], mut sink: impl FnMut(&[u8])) {
        let mut rest = piece;
        if self.is_after_cr && !rest.is_empty() {
            self.is_after_cr = false;
            if rest[0] != b'\n' {
                self.content(b"\r", &mut sink);
            }
        }
        while let Some(first) = rest.first() {
            let length = match first {
                b' ' | b'\t' => {
                    self.is_spaced = true;
                    1
                }
                b'\n' => self.end_line(1),
                b'\r' => match rest.get(1) {
                    Some(b'\n') => self.end_line(2),
                    Some(_) => {
                        self.content(b"\r", &mut sink);
                        1
                    }
                    None => {
                        self.is_after_cr = true;
                        1
                    }
                },
                _ => {
                    let run = canonical_run(rest);
                    self.content(&rest[..run], &mut sink);
                    run
                }
            };
            rest = &rest[length..];
        }
    }

    /// Passes the end of the canonical form to `sink`.
    pub fn finish(mut self, mut sink: impl FnMut(&[u8])) {
        if self.is_after_cr {
            self.content(b"\r", &mut sink);
        }
        if self.has_content {
            sink(b"\r\n");
        }
    }

    fn end_line(&mut self, length: usize) -> usize {
        self.is_spaced = false;
        self.line_ends += 1;
        length
    }

    fn content(&mut self, octets: &[u8], sink: &mut impl FnMut(&[u8])) {
        for _ in 0..std::mem::take(&mut self.line_ends) {
            sink(b"\r\n");
        }
        if std::mem::take(&mut self.is_spaced) {
            sink(b" ");
        }
        self.has_content = true;
        sink(octets);
    }
}

/// Length of the longest part from the start that is canonical already. The first octet is neither white space nor part
/// of a line end.
fn canonical_run(octets: &[u8]) -> usize {
    let is_plain = |octet: Option<&u8>| octet.is_some_and(|octet| !matches!(octet, b' ' | b'\t' | b'\r' | b'\n'));
    let mut end = 1;
    loop {
        match octets.get(end) {
            Some(b' ') if is_plain(octets.get(end + 1)) => end += 2,
            Some(b'\r') if octets.get(end + 1) == Some(&b'\n') && is_plain(octets.get(end + 2)) => end += 3,
            octet if is_plain(octet) => end += 1,
            _ => return end,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let (mut body, mut out) = (RelaxedBody::default(), Vec::new());
        for piece in pieces {
            body.push(piece, |octets| out.extend_from_slice(octets));
        }
        body.finish(|octets| out.extend_from_slice(octets));
        String::from_utf8(out).expect("text")
    }

    /// The steps of RFC 6376 section 3.4.4 as written there, one after the other.
    fn by_the_text(body: &str) -> String {
        let mut lines: Vec<String> = body
            .split("\r\n")
            .map(|line| {
                let mut reduced = String::new();
                for octet in line.trim_end_matches([' ', '\t']).chars() {
                    match octet {
                        ' ' | '\t' if reduced.ends_with(' ') => {}
                        ' ' | '\t' => reduced.push(' '),
                        octet => reduced.push(octet),
                    }
                }
                reduced
            })
            .collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines.iter().map(|line| format!("{line}\r\n")).collect()
    }

    #[test]
    fn ignores_lines_of_white_space_at_the_end() {
        for body in [
            "Hello\r\n",
            "Hello",
            "Hello \t",
            "Hello\r\n \r\n",
            "Hello\r\n\r\n\t\r\n",
            "Hello\r\n \t \r\n\r\n \r\n",
            "Hello\r\n\t",
            "Hello \r\n\r\n ",
        ] {
            assert_eq!(canonical([body.as_bytes()]), "Hello\r\n", "{body:?}");
        }
        for body in ["", "\r\n", " ", "\t\r\n", "\r\n \r\n\r\n"] {
            assert_eq!(canonical([body.as_bytes()]), "", "{body:?}");
        }
    }

    #[test]
    fn keeps_empty_lines_and_single_spaces_within() {
        for (body, expected) in [
            (" C \r\nD \t E\r\n", " C\r\nD E\r\n"),
            ("\r\n \r\na", "\r\n\r\na\r\n"),
            ("a\r\n \r\n\tb\r\n", "a\r\n\r\n b\r\n"),
            ("-- \r\nAnna\r\n", "--\r\nAnna\r\n"),
            ("a\rb\r", "a\rb\r\r\n"),
        ] {
            assert_eq!(canonical([body.as_bytes()]), expected, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn equals_the_text_of_the_standard_in_any_pieces(body in "([ab \\t]{0,3}(\r\n)?){0,8}", piece in 1_usize..6) {
            let expected = by_the_text(&body);
            prop_assert_eq!(&canonical([body.as_bytes()]), &expected);
            prop_assert_eq!(&canonical(body.as_bytes().chunks(piece)), &expected);
            prop_assert_eq!(canonical([expected.as_bytes()]), expected, "a canonical body stays");
        }
    }
}
