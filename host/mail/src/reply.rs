//! SMTP replies (RFC 5321 section 4.2) and enhanced status codes (RFC 3463, RFC 2034).

use std::fmt;

use serde::{Deserialize, Serialize};

/// An enhanced status code: class, subject and detail (RFC 3463).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCode(pub u8, pub u16, pub u16);

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl std::str::FromStr for StatusCode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let mut next = |max: usize| {
            parts
                .next()
                .filter(|p| !p.is_empty() && p.len() <= max && p.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|p| p.parse::<u16>().ok())
                .ok_or(())
        };
        let (class, subject, detail) = (next(1)?, next(3)?, next(3)?);
        if parts.next().is_some() || !matches!(class, 2 | 4 | 5) {
            return Err(());
        }
        Ok(Self(class as u8, subject, detail))
    }
}

/// An SMTP reply of this host or of a remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Reply code, 200 to 599.
    pub code: u16,
    /// Enhanced status code; absent from banners, EHLO replies and replies of remotes that send no status codes.
    pub status: Option<StatusCode>,
    /// Text for humans. Lines of a multi-line reply are separated by `\n`, without other line breaks.
    pub text: String,
    /// Name of the remote that gave the reply, where a later report needs it; `None` for a reply of this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<Box<RemoteName>>,
}

/// Name of a remote host. Boxed in a [`Reply`], which few replies have use for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RemoteName(pub String);

impl Reply {
    /// Creates a reply with an enhanced status code.
    pub fn new(code: u16, status: (u8, u16, u16), text: impl Into<String>) -> Self {
        Self {
            code,
            status: Some(StatusCode(status.0, status.1, status.2)),
            text: text.into(),
            remote: None,
        }
    }

    /// Creates a reply without an enhanced status code.
    pub fn bare(code: u16, text: impl Into<String>) -> Self {
        Self {
            code,
            status: None,
            text: text.into(),
            remote: None,
        }
    }

    /// Returns the reply with the name of the remote that gave it.
    pub fn from_remote(self, remote: &str) -> Self {
        Self {
            remote: Some(Box::new(RemoteName(remote.to_owned()))),
            ..self
        }
    }

    /// True for codes 2xx and 3xx.
    pub fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// True for codes 4xx: a retry may succeed.
    pub fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// True for codes 5xx: a retry will fail again.
    pub fn is_permanent(&self) -> bool {
        (500..600).contains(&self.code)
    }

    /// Appends the octets to send, including CRLF, to `out`. Control characters in the text become `?`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let separator = if lines.peek().is_some() { b'-' } else { b' ' };
            push_number(out, self.code);
            out.push(separator);
            if let Some(StatusCode(class, subject, detail)) = self.status {
                for (number, end) in [(u16::from(class), b'.'), (subject, b'.'), (detail, b' ')] {
                    push_number(out, number);
                    out.push(end);
                }
            }
            if line.is_ascii() && !line.bytes().any(|octet| octet.is_ascii_control()) {
                out.extend_from_slice(line.as_bytes());
            } else {
                let clean: String = line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
                out.extend_from_slice(clean.as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Appends a number in decimal. Every reply of a session passes here, so that the machinery of formats is bypassed.
fn push_number(out: &mut Vec<u8>, number: u16) {
    for divisor in [10_000, 1000, 100, 10, 1] {
        if number >= divisor || divisor == 1 {
            // One digit.
            out.push(b'0' + (number / divisor % 10) as u8);
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        write!(f, " {}", self.text.replace('\n', " / "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multi_line_replies_repeat_code_and_status() {
        let mut out = Vec::new();
        Reply::new(550, (5, 1, 1), "one\ntwo\r").write_to(&mut out);
        assert_eq!(out, b"550-5.1.1 one\r\n550 5.1.1 two?\r\n");
    }

    #[test]
    fn replaces_control_characters_in_replies() {
        for (text, expected) in [
            ("grüß \u{7f}", "250 grüß ?\r\n"),
            ("\u{85}\0\tx", "250 ???x\r\n"),
            ("", "250 \r\n"),
        ] {
            let mut out = Vec::new();
            Reply::bare(250, text).write_to(&mut out);
            assert_eq!(out, expected.as_bytes());
        }
    }

    #[test]
    fn parses_status_codes_of_three_numbers_only() {
        assert_eq!("5.1.10".parse(), Ok(StatusCode(5, 1, 10)));
        for bad in ["", "5", "5.1", "5.1.1.1", "3.0.0", "5.1.1000", "5.+1.1", "5..1"] {
            assert_eq!(bad.parse::<StatusCode>(), Err(()), "{bad}");
        }
    }
}
