//! Encoded words (RFC 2047) of an originator field.
//!
//! An encoded word is part of a name and never an address. Readers that decode before they parse see an address in it.

use memchr::memmem;

use super::atext::is_word;

/// Returns the addresses that appear when the encoded words of a value are decoded. The error is the reason, for the
/// reply.
pub fn addresses(value: &[u8]) -> Result<Vec<String>, &'static str> {
    if memmem::find(value, b"=?").is_none() {
        return Ok(Vec::new());
    }
    let decoded = decode(value)?;
    let mut addresses = Vec::new();
    let mut at = 0;
    while at < decoded.len() {
        let end = at
            + decoded[at..]
                .iter()
                .position(|(byte, _)| !belongs(*byte))
                .unwrap_or(decoded.len() - at);
        let token = &decoded[at..end];
        // An address in plain sight has been read already.
        if token.iter().any(|(byte, is_encoded)| *byte == b'@' && *is_encoded) {
            let bytes: Vec<u8> = token.iter().map(|(byte, _)| *byte).collect();
            addresses.push(String::from_utf8_lossy(&bytes).trim_matches(['\'', '.']).to_owned());
        }
        at = end + 1;
    }
    Ok(addresses)
}

fn belongs(byte: u8) -> bool {
    is_word(byte) || byte == b'@'
}

/// Returns the bytes of a value with encoded words decoded, each with a mark that it was encoded. White space between
/// encoded words is dropped (RFC 2047 section 6.2).
fn decode(value: &[u8]) -> Result<Vec<(u8, bool)>, &'static str> {
    let mut decoded: Vec<(u8, bool)> = Vec::with_capacity(value.len());
    let mut rest = value;
    // Length of `decoded` behind the last encoded word, while only white space has followed.
    let mut behind_word = None;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some((word, behind)) = split_word(rest) {
            if let Some(length) = behind_word {
                decoded.truncate(length);
            }
            decoded.extend(word.text()?.into_iter().map(|byte| (byte, true)));
            behind_word = Some(decoded.len());
            rest = behind;
            continue;
        }
        if !first.is_ascii_whitespace() {
            behind_word = None;
        }
        decoded.push((first, false));
        rest = tail;
    }
    Ok(decoded)
}

struct EncodedWord<'a> {
    charset: &'a [u8],
    is_base64: bool,
    encoded: &'a [u8],
}

/// Splits an encoded word off the beginning: `=?charset?encoding?text?=`, without a limit of its length.
fn split_word(text: &[u8]) -> Option<(EncodedWord<'_>, &[u8])> {
    let inner = text.strip_prefix(b"=?")?;
    // A charset is short; the bound keeps the search for the end of `=?=?=?…` linear.
    let charset = inner.iter().take(64).position(|byte| *byte == b'?')?;
    let (charset, tail) = (&inner[..charset], &inner[charset + 1..]);
    let is_base64 = match tail.first_chunk()? {
        [b'B' | b'b', b'?'] => true,
        [b'Q' | b'q', b'?'] => false,
        _ => return None,
    };
    let tail = &tail[2..];
    let end = memchr::memchr(b'?', tail)?;
    let behind = tail[end..].strip_prefix(b"?=")?;
    let encoded = &tail[..end];
    Some((
        EncodedWord {
            charset,
            is_base64,
            encoded,
        },
        behind,
    ))
}

/// Charsets in which a byte below 0x80 is not always the ASCII character.
const NOT_ASCII: [&str; 8] = [
    "utf-7",
    "utf7",
    "unicode-",
    "utf-16",
    "utf-32",
    "ucs-",
    "iso-10646",
    "ebcdic",
];

impl EncodedWord<'_> {
    /// Returns the bytes of the word; bytes of multi-byte characters that look like ASCII are 0x80.
    fn text(&self) -> Result<Vec<u8>, &'static str> {
        let charset = String::from_utf8_lossy(self.charset).to_ascii_lowercase();
        if NOT_ASCII.iter().any(|prefix| charset.starts_with(prefix)) {
            return Err("has an encoded word in a charset that hides addresses");
        }
        let mut bytes = match self.is_base64 {
            true => base64(self.encoded),
            false => quoted_printable(self.encoded),
        };
        if bytes.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
            return Err("has a line end in an encoded word");
        }
        hide_trail_bytes(&charset, &mut bytes);
        Ok(bytes)
    }
}

/// Replaces trail bytes of multi-byte characters, which can have the value of `@`.
fn hide_trail_bytes(charset: &str, bytes: &mut [u8]) {
    let is_lead: fn(u8) -> bool = match charset {
        "shift_jis" | "shift-jis" | "sjis" | "cp932" | "windows-31j" => {
            |byte| matches!(byte, 0x81..=0x9f | 0xe0..=0xfc)
        }
        "gbk" | "gb18030" | "cp936" | "big5" | "big5-hkscs" | "cp950" | "cp949" | "ks_c_5601-1987" => {
            |byte| byte > 0x80
        }
        _ if charset.starts_with("iso-2022-") => return hide_shifted(bytes),
        _ => return,
    };
    let mut at = 0;
    while at + 1 < bytes.len() {
        if is_lead(bytes[at]) {
            bytes[at + 1] = 0x80;
            at += 1;
        }
        at += 1;
    }
}

/// Replaces the bytes between the escape to a double-byte set (`ESC $`) and the escape back (`ESC (`).
fn hide_shifted(bytes: &mut [u8]) {
    let mut shifted = false;
    for at in 0..bytes.len() {
        match bytes[at..] {
            [0x1b, b'$', ..] => shifted = true,
            [0x1b, b'(', ..] => shifted = false,
            _ => {}
        }
        if shifted {
            bytes[at] = 0x80;
        }
    }
}

/// Decodes the Q encoding (RFC 2047 section 4.2). Anything malformed stays.
fn quoted_printable(encoded: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, behind) = match (first, tail) {
            (b'_', _) => (b' ', tail),
            (b'=', [high, low, behind @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, behind),
                _ => (b'=', tail),
            },
            _ => (first, tail),
        };
        decoded.push(byte);
        rest = behind;
    }
    decoded
}

/// Decodes base64 (RFC 4648) and skips what is none, as readers of mail do.
fn base64(encoded: &[u8]) -> Vec<u8> {
    let (mut bits, mut count) = (0_u32, 0);
    let mut decoded = Vec::with_capacity(encoded.len() * 3 / 4 + 1);
    for byte in encoded {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count & 0xff) as u8);
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(value: &str) -> Vec<String> {
        addresses(value.as_bytes()).expect(value)
    }

    #[test]
    fn finds_addresses_that_decoding_reveals() {
        for (value, expected) in [
            ("Anna <anna@example.org>", None),
            ("=?utf-8?q?M=C3=BCller=2C_Anna?= <anna@example.org>", None),
            (
                "=?utf-8?q?Bert_=3Cbert=40example.org=3E?= <anna@example.org>",
                Some("bert@example.org"),
            ),
            (
                "=?utf-8?B?YmVydEBleGFtcGxlLm9yZw==?= <anna@example.org>",
                Some("bert@example.org"),
            ),
            (
                "=?utf-8?q?bert?=\r\n =?us-ascii?Q?=40example.org?= <a@b>",
                Some("bert@example.org"),
            ),
            (
                "bert=?utf-8?q?=40?=example.org <anna@example.org>",
                Some("bert@example.org"),
            ),
            // Trail bytes of Japanese characters have the value of `@`.
            ("=?shift_jis?q?=83=40?= <anna@example.org>", None),
            ("=?iso-2022-jp?q?=1B=24B=40=38=1B=28B?= <anna@example.org>", None),
        ] {
            assert_eq!(found(value), Vec::from_iter(expected), "{value}");
        }
    }

    #[test]
    fn refuses_words_that_hide_text_or_break_lines() {
        for value in [
            "=?utf-7?q?+AEA-?= <a@b>",
            "=?utf-16?b?AEA=?= <a@b>",
            "=?utf-8?q?a=0D=0Ab?= <a@b>",
            "=?x?q?=00?= <a@b>",
        ] {
            assert!(addresses(value.as_bytes()).is_err(), "{value}");
        }
    }

    #[test]
    fn leaves_malformed_words_alone() {
        for value in [
            "=?",
            "=?utf-8",
            "=?utf-8?q?",
            "=?utf-8?x?a?=",
            "=?utf-8?q?a=ZZ=?= <a@b>",
            "=?=?=?=?",
        ] {
            assert!(found(value).is_empty(), "{value}");
        }
    }
}
