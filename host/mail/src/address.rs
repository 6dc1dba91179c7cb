//! Mailboxes and paths (RFC 5321 section 4.1.2, RFC 6531 section 3.3).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use icu_normalizer::ComposingNormalizerBorrowed;
use serde::{Deserialize, Serialize};

use super::domain::{canonical_domain, is_address_literal, is_domain_name};

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
    /// The domain is neither a name that IDNA accepts nor an address literal.
    #[error("bad domain")]
    Domain,
    /// A part or the whole is longer than RFC 5321 section 4.5.3.1 allows.
    #[error("address too long")]
    TooLong,
}

/// A mailbox, `local-part@domain`. The domain is kept in its canonical form ([`canonical_domain`]). The local-part is
/// kept as written, in normalization form C (RFC 6532 section 3.1), since only the host of the domain may interpret a
/// local-part (RFC 5321 section 2.4).
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

    /// The part after the `@`, in canonical form.
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
        let (local, domain) = split(text)?;
        let local = local_part(local)?;
        let domain = canonical_domain(domain).ok_or(AddressError::Domain)?;
        Self::of_parts(&local, &domain)
    }
}

impl Mailbox {
    /// Joins the parts, whose syntax is right.
    fn of_parts(local: &str, domain: &str) -> Result<Self, AddressError> {
        let at = local.len();
        if domain.len() > MAX_DOMAIN || at + 1 + domain.len() > MAX_PATH {
            return Err(AddressError::TooLong);
        }
        let mut text = String::with_capacity(at + 1 + domain.len());
        text.push_str(local);
        text.push('@');
        text.push_str(domain);
        Ok(Self { text, at })
    }
}

/// Splits a text at the last `@`.
fn split(text: &str) -> Result<(&str, &str), AddressError> {
    if text.len() > MAX_PATH {
        return Err(AddressError::TooLong);
    }
    match text.rsplit_once('@') {
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() => Ok((local, domain)),
        _ => Err(AddressError::NotAMailbox),
    }
}

/// Returns a local-part in normalization form C, checked.
fn local_part(text: &str) -> Result<Cow<'_, str>, AddressError> {
    let local = match text.is_ascii() {
        true => Cow::Borrowed(text),
        false => ComposingNormalizerBorrowed::new_nfc().normalize(text),
    };
    if local.len() > MAX_LOCAL_PART {
        return Err(AddressError::TooLong);
    }
    match is_dot_string(&local) || is_quoted_string(&local) {
        true => Ok(local),
        false => Err(AddressError::LocalPart),
    }
}

/// Reads a mailbox that a host has stored. Earlier versions kept domains in lower case and accepted some that IDNA
/// refuses; such a mailbox stays as it is.
impl TryFrom<String> for Mailbox {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse().or_else(|error| {
            let (local, domain) = split(&text)?;
            let domain = domain.to_lowercase();
            match is_domain_name(&domain) || is_address_literal(&domain) {
                true => Self::of_parts(&local_part(local)?, &domain),
                false => Err(error),
            }
        })
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
    fn domain_is_canonical_and_local_part_composed() {
        for text in ["jo\u{308}rg@BÜCHER.example", "jörg@xn--bcher-kva.example."] {
            let mailbox: Mailbox = text.parse().expect(text);
            assert_eq!(mailbox.as_str(), "jörg@xn--bcher-kva.example");
        }
        let ascii: Mailbox = "anna@bücher.example".parse().expect("valid");
        assert!(ascii.is_ascii());
        assert_eq!("a@xn--a.example".parse::<Mailbox>(), Err(AddressError::Domain));
    }

    #[test]
    fn stored_mailboxes_with_domains_that_idna_refuses_still_load() {
        for text in ["a@xn--a.example", "a@a\u{202e}b.example", "a@b.example"] {
            let stored = Mailbox::try_from(text.to_owned()).expect(text);
            assert_eq!(stored.as_str(), text);
            assert_eq!(Mailbox::try_from(String::from(stored.clone())), Ok(stored));
        }
        let stored = Mailbox::try_from("a@bücher.example".to_owned()).expect("valid");
        assert_eq!(stored.as_str(), "a@xn--bcher-kva.example");
        assert!(Mailbox::try_from("a@b c".to_owned()).is_err());
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
