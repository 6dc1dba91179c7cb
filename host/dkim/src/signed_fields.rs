//! The choice of the header fields that a signature covers (RFC 6376 section 5.4).

use host_mail::{Field, HeaderBlock};

use crate::relaxed_header::push_relaxed_field;

/// Fields that are signed by default, as often as a message has them (RFC 6376 section 5.4.1).
const DEFAULT_FIELDS: [&str; 22] = [
    "From",
    "Sender",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "To",
    "Cc",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-ID",
    "Content-Description",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Archive",
];
/// Fields that are oversigned by default.
const DEFAULT_OVERSIGNED: [&str; 4] = ["From", "Subject", "Date", "To"];
/// Maximum number of fields in a signature. Of a name that occurs more often, the undermost fields are signed.
const MAX_FIELDS: usize = 100;

/// Names of the fields that a signature covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedFields {
    /// Names, each signed as often as it occurs.
    names: Vec<String>,
    /// Names that are signed once more than they occur: a field of this name that is added on the way breaks the
    /// signature (RFC 6376 section 8.15).
    oversigned: Vec<String>,
}

impl Default for SignedFields {
    fn default() -> Self {
        Self::new(
            DEFAULT_FIELDS.map(str::to_owned).to_vec(),
            DEFAULT_OVERSIGNED.map(str::to_owned).to_vec(),
        )
    }
}

impl SignedFields {
    /// Makes a choice of fields. `From` is signed in any case (RFC 6376 section 5.4), and so is every name in
    /// `oversigned`.
    pub fn new(names: Vec<String>, oversigned: Vec<String>) -> Self {
        let mut all: Vec<String> = Vec::new();
        for name in std::iter::once("From".to_owned())
            .chain(names)
            .chain(oversigned.iter().cloned())
        {
            if !contains(&all, &name) {
                all.push(name);
            }
        }
        Self { names: all, oversigned }
    }

    /// Names that are signed by default, and names that are oversigned by default.
    pub fn default_names() -> (Vec<String>, Vec<String>) {
        let Self { names, oversigned } = Self::default();
        (names, oversigned)
    }

    /// Returns the names of the signed fields in the order of the signature (`h=`), and appends their relaxed forms to
    /// `canonical`. Of several fields of a name the undermost is first (RFC 6376 section 5.4.2).
    pub(crate) fn select(&self, header: &HeaderBlock, canonical: &mut Vec<u8>) -> Vec<&str> {
        let fields: Vec<Field<'_>> = header.fields().collect();
        let mut selected = Vec::new();
        for name in &self.names {
            for field in fields.iter().rev().filter(|field| field.is(name)) {
                if selected.len() == MAX_FIELDS {
                    return selected;
                }
                push_relaxed_field(field.name, field.value, canonical);
                canonical.extend_from_slice(b"\r\n");
                selected.push(name.as_str());
            }
            if contains(&self.oversigned, name) {
                selected.push(name);
            }
        }
        selected
    }
}

fn contains(names: &[String], name: &str) -> bool {
    names.iter().any(|other| other.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use host_mail::InMemory;

    use super::*;

    #[test]
    fn selects_from_the_bottom_and_oversigns() {
        let header = "To: a\r\nX: 1\r\nTo: b\r\nFrom: c\r\n\r\n";
        let header = HeaderBlock::read(&InMemory(header.into())).expect("in memory");
        let fields = SignedFields::new(
            vec!["To".to_owned(), "Cc".to_owned()],
            vec!["to".to_owned(), "Date".to_owned()],
        );
        let mut canonical = Vec::new();
        assert_eq!(
            fields.select(&header, &mut canonical),
            ["From", "To", "To", "To", "Date"]
        );
        assert_eq!(canonical, b"from:c\r\nto:b\r\nto:a\r\n");
    }

    #[test]
    fn number_of_signed_fields_is_bounded() {
        let header = format!("From: a@b.example\r\n{}\r\n", "To: a\r\n".repeat(5000));
        let header = HeaderBlock::read(&InMemory(header.into())).expect("in memory");
        let selected = SignedFields::default().select(&header, &mut Vec::new()).len();
        assert!(selected <= MAX_FIELDS + DEFAULT_OVERSIGNED.len(), "{selected}");
    }
}
