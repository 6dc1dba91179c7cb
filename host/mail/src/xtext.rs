//! xtext, the encoding of parameter values (RFC 3461 section 4).

/// Decodes xtext: printable ASCII with `+XX` for other octets. `None` if the value is empty or no xtext.
pub fn decode_xtext(value: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        octets.push(match byte {
            b'+' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            b'=' => return None,
            other if other.is_ascii_graphic() => other,
            _ => return None,
        });
    }
    (!octets.is_empty()).then_some(octets)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Encodes text as xtext.
pub fn encode_xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if !matches!(byte, b'+' | b'=') => out.push(char::from(byte)),
            other => out.push_str(&format!("+{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_it_encodes_and_refuses_the_rest() {
        for text in ["anna@example.org", "a+b=c d", "gr\u{fc}\u{df}e"] {
            assert_eq!(decode_xtext(&encode_xtext(text)), Some(text.as_bytes().to_vec()));
        }
        assert_eq!(encode_xtext("a+b c"), "a+2Bb+20c");
        for bad in ["", "a=b", "a b", "+2", "+2b", "+", "gr\u{fc}n", "a\u{7f}"] {
            assert_eq!(decode_xtext(bad), None, "{bad:?}");
        }
    }
}
