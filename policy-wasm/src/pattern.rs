//! Patterns of addresses in settings. Comparison ignores case, and the spelling of domains: the host gives domains as
//! A-labels, and a pattern is mapped to A-labels when the settings are read.

use std::borrow::Cow;

use std::fmt;
use std::str::FromStr;

use icu_normalizer::ComposingNormalizerBorrowed;
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use serde::Deserialize;

use crate::directory_questions::domain_of;
use posthouse_policy::ReversePath;

/// A pattern of addresses: `user@domain`, `@domain`, or `@*.domain` for all subdomains. Comparison ignores case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AddressPattern {
    /// The pattern as written in the settings.
    written: String,
    kind: Kind,
}

/// Kind of a pattern, with its text in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Address(String),
    Domain(String),
    /// The parent domain with a leading dot.
    Subdomains(String),
}

impl AddressPattern {
    /// True if the address matches.
    pub fn matches(&self, address: &str) -> bool {
        let address = address.to_lowercase();
        match &self.kind {
            Kind::Address(expected) => *expected == address,
            Kind::Domain(domain) => domain_of(&address) == domain,
            Kind::Subdomains(suffix) => domain_of(&address).ends_with(suffix),
        }
    }
}

impl FromStr for AddressPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address pattern: expected user@domain, @domain or @*.domain");
        let (local, domain) = text.rsplit_once('@').ok_or_else(wrong)?;
        let (is_parent, name) = match domain.strip_prefix("*.") {
            Some(parent) => (true, parent),
            None => (false, domain),
        };
        let name = canonical(name).ok_or_else(wrong)?;
        let kind = match (local.is_empty(), is_parent) {
            (true, true) => Kind::Subdomains(format!(".{name}")),
            (true, false) => Kind::Domain(name),
            (false, false) if !local.starts_with('<') => {
                let local = ComposingNormalizerBorrowed::new_nfc().normalize(local);
                Kind::Address(format!("{}@{name}", local.to_lowercase()))
            }
            (false, _) => return Err(wrong()),
        };
        Ok(Self {
            written: text.to_owned(),
            kind,
        })
    }
}

/// Returns a domain as the host gives it: A-labels in lower case (UTS #46), without a final dot. `None` if there is no
/// such domain. An address literal is only lower-cased.
fn canonical(domain: &str) -> Option<String> {
    let name = match domain.starts_with('[') {
        true => Cow::Owned(domain.to_ascii_lowercase()),
        false => {
            let mapping = Uts46::new();
            let (deny, length) = (AsciiDenyList::EMPTY, DnsLength::VerifyAllowRootDot);
            mapping.to_ascii(domain.as_bytes(), deny, Hyphens::Allow, length).ok()?
        }
    };
    let name = name.strip_suffix('.').unwrap_or(&name);
    let is_name = !name.is_empty() && !name.starts_with('.') && !name.ends_with('.');
    let has_other = name.contains(|c: char| c.is_whitespace() || c.is_control() || "<>,;*@".contains(c));
    (is_name && !has_other).then(|| name.to_owned())
}

impl TryFrom<String> for AddressPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// An address pattern, or `<>` (also written as the empty string) for the null reverse-path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SenderPattern {
    /// The null reverse-path (RFC 5321 section 4.5.5).
    Null,
    /// A sender with an address.
    Address(AddressPattern),
}

impl SenderPattern {
    /// True if the reverse-path matches.
    pub fn matches(&self, sender: &ReversePath) -> bool {
        match (self, sender) {
            (Self::Null, ReversePath::Null) => true,
            (Self::Address(pattern), ReversePath::Mailbox(address)) => pattern.matches(address),
            _ => false,
        }
    }
}

impl TryFrom<String> for SenderPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "" | "<>" => Ok(Self::Null),
            other => other.parse().map(Self::Address),
        }
    }
}

impl fmt::Display for SenderPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Address(pattern) => pattern.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_addresses_domains_and_subdomains() {
        for (pattern, address, expected) in [
            ("anna@example.org", "anna@example.org", true),
            ("Anna@Example.org", "aNNa@example.org", true),
            ("anna@example.org", "xanna@example.org", false),
            ("anna@example.org", "anna@example.org.evil.example", false),
            ("@example.org", "anyone@example.org", true),
            ("@example.org", "anyone@sub.example.org", false),
            ("@example.org", "anyone@badexample.org", false),
            ("@example.org", "\"x@example.org\"@evil.example", false),
            ("@*.example.org", "anyone@a.b.example.org", true),
            ("@*.example.org", "anyone@example.org", false),
            ("@*.example.org", "anyone@badexample.org", false),
            ("@[192.0.2.1]", "anyone@[192.0.2.1]", true),
            ("@org.", "anyone@org", true),
            ("@ｂlocked.test", "anyone@blocked.test", true),
            ("@bücher.example", "anyone@xn--bcher-kva.example", true),
            ("@BÜCHER.example.", "anyone@xn--bcher-kva.example", true),
            ("@*.bücher.example", "anyone@a.xn--bcher-kva.example", true),
            ("jo\u{308}rg@bücher.example", "Jörg@xn--bcher-kva.example", true),
        ] {
            let parsed: AddressPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(address), expected, "{pattern} on {address}");
        }
    }

    #[test]
    fn refuses_malformed_patterns() {
        for text in [
            "",
            "example.org",
            "anna@",
            "@",
            "@.org",
            "@*.",
            "@*",
            "a@*.example.org",
            "<anna@example.org>",
            "@a b",
            "@org..",
            "@xn--a.example",
            "@a＠b.example",
        ] {
            assert!(text.parse::<AddressPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn null_reverse_path_has_its_own_pattern() {
        for text in ["", "<>"] {
            let pattern = SenderPattern::try_from(text.to_owned()).unwrap();
            assert!(pattern.matches(&ReversePath::Null));
            assert!(!pattern.matches(&ReversePath::Mailbox("anna@example.org".to_owned())));
        }
        let pattern = SenderPattern::try_from("@example.org".to_owned()).unwrap();
        assert!(!pattern.matches(&ReversePath::Null));
    }
}
