//! The relaxed canonicalization of header fields (RFC 6376 section 3.4.2).

/// Appends a field in its relaxed form, without the final CRLF: the name in lower case, the value on one line with
/// single spaces. `value` is the folded value.
pub(crate) fn push_relaxed_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend(name.iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let (start, mut is_spaced) = (out.len(), false);
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        match first {
            b' ' | b'\t' => is_spaced = true,
            b'\r' if after.first() == Some(&b'\n') => {}
            b'\n' => {}
            octet => {
                if std::mem::take(&mut is_spaced) && out.len() > start {
                    out.push(b' ');
                }
                out.push(*octet);
            }
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reduces_names_folds_and_white_space() {
        for (name, value, expected) in [
            ("A", " X", "a:X"),
            ("B", " Y\t\r\n\tZ  ", "b:Y Z"),
            ("Subject", "", "subject:"),
            ("Subject", " \r\n \r\n ", "subject:"),
            ("X-Ff", " a\x0cb ", "x-ff:a\x0cb"),
            ("From", "\"A  B\"\r\n <a@b.example>", "from:\"A B\" <a@b.example>"),
        ] {
            let mut out = Vec::new();
            push_relaxed_field(name.as_bytes(), value.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).expect("text"), expected);
        }
    }
}
