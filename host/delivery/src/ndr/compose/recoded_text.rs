//! A message of one text part, encoded anew so that 7bit hosts carry it (RFC 6152 section 3, RFC 2045 section 6.7).
//!
//! Nothing of a body is parsed: a message of several parts, or with an encoding of its own, is left as it is.

use crate::ndr::safe_text::quoted_printable;
use host_mail::HeaderBlock;

/// Maximum bytes of a field that is evaluated.
const MAX_VALUE: usize = 1000;
/// Fields that the encoded message has anew.
const REPLACED: [&str; 2] = ["MIME-Version", "Content-Transfer-Encoding"];

/// Returns the message in quoted-printable. `body` begins with the empty line. `None` if the header is not ASCII, or the
/// message is not a single text in 7bit or 8bit.
pub(super) fn recoded(header: &HeaderBlock, body: &[u8]) -> Option<Vec<u8>> {
    let block = header.as_bytes();
    let body = body.strip_prefix(b"\r\n")?;
    if !block.is_ascii() || !block.ends_with(b"\r\n") {
        return None;
    }
    let mut types = header.named("Content-Type").map(|field| field.unfolded(MAX_VALUE));
    let (kind, second) = (types.next(), types.next());
    let is_text = kind
        .as_ref()
        .is_none_or(|kind| kind.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("text/")));
    let is_plain = header.named("Content-Transfer-Encoding").all(|field| {
        let encoding = field.unfolded(MAX_VALUE).to_ascii_lowercase();
        matches!(encoding.as_str(), "7bit" | "8bit")
    });
    if second.is_some() || !is_text || !is_plain {
        return None;
    }
    let mut out = without(block, &REPLACED);
    out.extend_from_slice(b"MIME-Version: 1.0\r\n");
    if kind.is_none() {
        // RFC 1428 section 3: the character set of undeclared 8-bit text.
        let charset = if std::str::from_utf8(body).is_ok() {
            "utf-8"
        } else {
            "unknown-8bit"
        };
        out.extend_from_slice(format!("Content-Type: text/plain; charset={charset}\r\n").as_bytes());
    }
    out.extend_from_slice(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n");
    out.extend_from_slice(&quoted_printable(body));
    Some(out)
}

/// Returns a header block without the fields of these names.
fn without(block: &[u8], names: &[&str]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(block.len());
    let mut is_dropped = false;
    for line in block.split_inclusive(|byte| *byte == b'\n') {
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            let name = line
                .split(|byte| *byte == b':')
                .next()
                .unwrap_or_default()
                .trim_ascii_end();
            is_dropped = names
                .iter()
                .any(|dropped| name.eq_ignore_ascii_case(dropped.as_bytes()));
        }
        if !is_dropped {
            kept.extend_from_slice(line);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_mail::InMemory;

    fn recode(header: &str, body: &[u8]) -> Option<String> {
        let message = [header.as_bytes(), b"\r\n", body].concat();
        let block = HeaderBlock::read(&InMemory(message.clone().into())).expect("in memory");
        let rest = &message[block.as_bytes().len()..];
        recoded(&block, rest).map(|bytes| String::from_utf8(bytes).expect("ASCII"))
    }

    #[test]
    fn text_keeps_its_header_and_every_byte() {
        let header = "Subject: x\r\nContent-Type: Text/Plain;\r\n charset=iso-8859-1\r\nCONTENT-transfer-encoding:\r\n 8BIT\r\n\
                      MIME-Version: 1.0 (x)\r\nX: y\r\n";
        let message = recode(header, b"Gr\xfc\xdfe\r\n").expect("text");
        assert_eq!(
            message,
            "Subject: x\r\nContent-Type: Text/Plain;\r\n charset=iso-8859-1\r\nX: y\r\nMIME-Version: 1.0\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n"
        );
    }

    #[test]
    fn undeclared_text_gets_a_character_set() {
        for (body, charset, encoded) in [("é".as_bytes(), "utf-8", "=C3=A9"), (b"\xe9", "unknown-8bit", "=E9")] {
            let message = recode("Subject: x\r\n", body).expect("text");
            assert!(
                message.contains(&format!("text/plain; charset={charset}\r\n")),
                "{message}"
            );
            assert!(message.ends_with(&format!("\r\n\r\n{encoded}")), "{message}");
        }
    }

    #[test]
    fn other_messages_are_left_alone() {
        for header in [
            "Content-Type: multipart/mixed; boundary=x\r\n",
            "Content-Type: text\r\n",
            "Content-Type: text/plain\r\nContent-Type: text/html\r\n",
            "Content-Transfer-Encoding: base64\r\n",
            "Content-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n",
            "Subject: \u{e9}\r\n",
        ] {
            assert_eq!(recode(header, b"\xe9\r\n"), None, "{header}");
        }
    }
}
