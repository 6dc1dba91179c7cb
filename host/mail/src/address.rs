//! Mailboxes and paths (RFC 5321 section 4.1.2, RFC 6531 section 3.3).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest local-part, in octets (RFC 5321 section 4.5.3.1.1).
const MAX_LOCAL_PART: usize = 64;
/// Longest domain, in octets (RFC 5321 section 4.5.3.1.2).
const MAX_DOMAIN: usize = 255;
/// Longest path without its angle brackets, in octets (RFC 5321 section 4.5.3.1.3).
const MAX_PATH: usize = 254;

/// Error of parsing a [`Mailbox`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The `@` is missing, or the part before or after the last `@` is empty.
    #[error("an address is local-part@domain")]
    NotAMailbox,
    /// The local-part is neither a dot-string nor a quoted string.
    #[error("bad local-part")]
    LocalPart,
    /// The domain is neither a name nor an address literal.
    #[error("bad domain")]
    Domain,
    /// A part or the whole is longer than RFC 5321 section 4.5.3.1 allows.
    #[error("address too long")]
    TooLong,
}

/// A mailbox, `local-part@domain`. The domain is kept in lower case; the local-part is kept as written, since only the
/// host of the domain may interpret a local-part (RFC 5321 section 2.4).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mailbox {
    text: String,
    /// Index of the `@` before the domain.
    at: usize,
}

impl Mailbox {
    /// The part before the `@`, including the quotes of a quoted string.
    pub fn local_part(&self) -> &str {
        &self.text[..self.at]
    }

    /// The part after the `@`, in lower case.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// The whole mailbox, `local-part@domain`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key of the mailbox in the directory: all lower case. Mailboxes that differ only in case share a key.
    pub fn key(&self) -> String {
        self.text.to_lowercase()
    }

    /// True if the mailbox is US-ASCII, so that a host without SMTPUTF8 (RFC 6531) can accept it.
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

impl FromStr for Mailbox {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > MAX_PATH {
            return Err(AddressError::TooLong);
        }
        let at = text.rfind('@').ok_or(AddressError::NotAMailbox)?;
        // The lower-case form is what is kept and parsed again: some characters grow by it, and all checks are of that form.
        let (local, domain) = (&text[..at], text[at + 1..].to_lowercase());
        if local.is_empty() || domain.is_empty() {
            return Err(AddressError::NotAMailbox);
        }
        if local.len() > MAX_LOCAL_PART || domain.len() > MAX_DOMAIN || at + 1 + domain.len() > MAX_PATH {
            return Err(AddressError::TooLong);
        }
        if !(is_dot_string(local) || is_quoted_string(local)) {
            return Err(AddressError::LocalPart);
        }
        if !(is_domain_name(&domain) || is_address_literal(&domain)) {
            return Err(AddressError::Domain);
        }
        Ok(Self {
            text: format!("{local}@{domain}"),
            at,
        })
    }
}

impl TryFrom<String> for Mailbox {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Mailbox> for String {
    fn from(mailbox: Mailbox) -> Self {
        mailbox.text
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// True for `atext` (RFC 5322 section 3.2.3), extended by RFC 6531 section 3.3.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_utf8_non_ascii(c)
}

fn is_utf8_non_ascii(c: char) -> bool {
    !c.is_ascii() && !c.is_control()
}

fn is_dot_string(text: &str) -> bool {
    text.split('.')
        .all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

fn is_quoted_string(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return false;
    };
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let ok = match c {
            '\\' => chars.next().is_some_and(|next| matches!(next, ' '..='~')),
            '"' => false,
            ' '..='~' => true,
            other => is_utf8_non_ascii(other),
        };
        if !ok {
            return false;
        }
    }
    text.len() > 1
}

/// True if every label has 1 to 63 bytes of letters, digits, hyphens, underscores or characters beyond ASCII (RFC 6531)
/// and neither begins nor ends with a hyphen. The length of the whole name is not checked.
pub fn is_domain_name(text: &str) -> bool {
    text.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_' || is_utf8_non_ascii(c))
    })
}

/// True for an IPv4 or IPv6 address literal in brackets, such as `[IPv6:::1]` (RFC 5321 section 4.1.3).
pub fn is_address_literal(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => inner[5..].parse::<std::net::Ipv6Addr>().is_ok(),
        _ => inner.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

/// The reverse-path of an envelope. The null reverse-path marks notifications (RFC 5321 section 4.5.5) and is distinct
/// from an empty mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReversePath {
    /// The null reverse-path `<>`: failures cause no notification.
    Null,
    /// Recipient of notifications about the message.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// The mailbox; `None` for the null reverse-path.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Null => None,
            Self::Mailbox(mailbox) => Some(mailbox),
        }
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_mailboxes_of_rfc_5321_and_6531() {
        for text in [
            "anna@example.org",
            "a.b+c@example.org",
            "\"john doe\"@example.org",
            "\"a\\\"b@c\"@example.org",
            "x@[192.0.2.1]",
            "x@[IPv6:2001:db8::1]",
            "jörg@bücher.example",
            "o'hara@localhost",
        ] {
            assert!(text.parse::<Mailbox>().is_ok(), "{text}");
        }
    }

    #[test]
    fn refuses_malformed_mailboxes() {
        for text in [
            "",
            "@",
            "anna",
            "anna@",
            "@example.org",
            "a..b@example.org",
            ".a@example.org",
            "a@example..org",
            "a b@example.org",
            "a@exa mple.org",
            "a@b>\r\nRCPT TO:<c@d",
            "a@-x.org",
            "\"a@example.org",
            "\"a\"b\"@example.org",
            "a@[300.1.1.1]",
            "a\0@example.org",
        ] {
            assert!(text.parse::<Mailbox>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn keeps_the_case_of_the_local_part_and_lowers_the_domain() {
        let mailbox: Mailbox = "Anna@EXAMPLE.Org".parse().expect("valid");
        assert_eq!(mailbox.as_str(), "Anna@example.org");
        assert_eq!(mailbox.key(), "anna@example.org");
        assert_eq!((mailbox.local_part(), mailbox.domain()), ("Anna", "example.org"));
    }

    #[test]
    fn refuses_a_local_part_of_more_than_64_octets() {
        let long = |n| format!("{}@example.org", "a".repeat(n));
        assert!(long(64).parse::<Mailbox>().is_ok());
        assert_eq!(long(65).parse::<Mailbox>(), Err(AddressError::TooLong));
    }
}
