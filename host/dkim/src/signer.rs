//! Signatures of a message by every key of its author's domain.

use std::fmt::Write as _;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_parser::parsers::MessageStream;
use mail_parser::{Address, HeaderValue};
use ring::digest;

use host_mail::{Content, HeaderBlock, Timestamp, canonical_domain};

use crate::relaxed_body::RelaxedBody;
use crate::relaxed_header::push_relaxed_field;
use crate::signed_fields::SignedFields;
use crate::signing_key::SigningKey;

/// Octets of a body that are read at a time.
const READ_SIZE: usize = 64 * 1024;
/// Columns of a folded line of the signature's field.
const COLUMNS: usize = 76;

/// A key of a domain, and what it signs.
#[derive(Debug)]
pub struct DomainSigner {
    /// Domain in the signature (`d=`), in canonical form.
    pub domain: String,
    /// Selector of the key (`s=`), in lower case.
    pub selector: String,
    /// The private key.
    pub key: SigningKey,
    /// Fields that the signature covers.
    pub fields: SignedFields,
    /// Mail that is signed.
    pub mail: SignedMail,
    /// Time before which the key does not sign; `None` is always.
    pub not_before: Option<Timestamp>,
    /// Time from which on the key does not sign; `None` is never.
    pub not_after: Option<Timestamp>,
}

/// Mail of a domain that a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignedMail {
    /// Mail of authenticated accounts, and this host's reports.
    Accounts,
    /// Also mail of clients that are exempt from authentication.
    Submissions,
    /// Any mail, also what strangers send in the name of the domain.
    All,
}

/// The keys of all domains. A domain may have several keys, all of which sign.
#[derive(Debug, Default)]
pub struct Signers(Vec<DomainSigner>);

/// Facts about a message that decide which keys sign it.
#[derive(Debug, Clone, Copy)]
pub struct MailOrigin {
    /// The narrowest choice of mail to which the message belongs.
    pub mail: SignedMail,
    /// True for a report of this host: it is signed by the domain of its author or the nearest domain above.
    pub is_report: bool,
}

impl Signers {
    /// Makes the signers of keys.
    pub fn new(signers: Vec<DomainSigner>) -> Self {
        Self(signers)
    }

    /// True without keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the fields that sign a message, one for each key, the first key's on top; no octets if no key signs the
    /// message. Reads the whole message, in pieces. A message with several fields `From:` is not signed: readers differ
    /// in which they show. Nor is one whose header is longer than [`HeaderBlock::read`] reads.
    ///
    /// # Errors
    /// The message cannot be read, or the system has no random numbers.
    pub fn sign(&self, content: &dyn Content, origin: MailOrigin, now: Timestamp) -> io::Result<Vec<u8>> {
        let header = HeaderBlock::read(content)?;
        let signers = match author_domain(&header) {
            Some(domain) => self.of(&domain, origin, now),
            None => Vec::new(),
        };
        let mut fields = Vec::new();
        let end = header.as_bytes().len() as u64;
        // A header beyond what is read would be hashed as a body.
        let is_whole = end >= content.size() || content.read(end, 2)? == b"\r\n"[..];
        if signers.is_empty() || !is_whole {
            return Ok(fields);
        }
        let body_hash = hash_body(content, end)?;
        for signer in signers {
            fields.extend(signer.field(&header, &body_hash, now)?);
        }
        Ok(fields)
    }

    /// Returns the keys that sign mail of an author's domain now.
    fn of(&self, domain: &str, origin: MailOrigin, now: Timestamp) -> Vec<&DomainSigner> {
        let mut name = domain;
        loop {
            let keys = self.0.iter().filter(|signer| signer.domain == name);
            let found: Vec<_> = keys
                .filter(|signer| signer.mail >= origin.mail && signer.is_in_force(now))
                .collect();
            match name.split_once('.') {
                Some((_, parent)) if found.is_empty() && origin.is_report => name = parent,
                _ => return found,
            }
        }
    }
}

impl DomainSigner {
    /// True if the key signs at a time.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|start| now >= start) && self.not_after.is_none_or(|end| now < end)
    }

    /// Returns the signature's field, folded, with its CRLF.
    fn field(&self, header: &HeaderBlock, body_hash: &str, now: Timestamp) -> io::Result<Vec<u8>> {
        let mut canonical = Vec::new();
        let names = self.fields.select(header, &mut canonical);
        let mut value = format!(
            " v=1; a={}; c=relaxed/relaxed;\r\n\td={}; s={};\r\n\tt={}; bh={body_hash};\r\n\th=",
            self.key.algorithm().signature_name(),
            self.domain,
            self.selector,
            now.seconds()
        );
        let mut column = 10;
        for (index, name) in names.iter().enumerate() {
            if column + name.len() > COLUMNS {
                value.push_str("\r\n\t ");
                column = 9;
            }
            let colon = if index + 1 < names.len() { ":" } else { ";" };
            let _ = write!(value, "{name}{colon}");
            column += name.len() + 1;
        }
        value.push_str("\r\n\tb=");
        push_relaxed_field(b"DKIM-Signature", value.as_bytes(), &mut canonical);
        let signature = self
            .key
            .sign(&canonical)
            .map_err(|_| io::Error::other("no random numbers for a signature"))?;
        for (index, line) in signature.as_bytes().chunks(COLUMNS - 10).enumerate() {
            if index > 0 {
                value.push_str("\r\n\t ");
            }
            value.push_str(&String::from_utf8_lossy(line));
        }
        Ok(format!("DKIM-Signature:{value}\r\n").into_bytes())
    }
}

/// Returns the domain of the author in canonical form: that of the first address in the only field `From:`.
fn author_domain(header: &HeaderBlock) -> Option<String> {
    let mut authors = header.named("From");
    let (author, None) = (authors.next()?, authors.next()) else {
        return None;
    };
    let mut value = author.value.to_vec();
    value.extend_from_slice(b"\r\n");
    let HeaderValue::Address(addresses) = MessageStream::new(&value).parse_address() else {
        return None;
    };
    let first = match &addresses {
        Address::List(list) => list.first(),
        Address::Group(groups) => groups.iter().find_map(|group| group.addresses.first()),
    };
    let (_, domain) = first?.address.as_deref()?.rsplit_once('@')?;
    canonical_domain(domain.trim()).map(|domain| domain.into_owned())
}

/// Returns the hash of the body in base64 (`bh=`). `header` is the length of the header without the empty line.
fn hash_body(content: &dyn Content, header: u64) -> io::Result<String> {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut body = RelaxedBody::default();
    let mut offset = header + 2;
    while offset < content.size() {
        let piece = content.read(offset, READ_SIZE)?;
        if piece.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the message is shorter than its size",
            ));
        }
        offset += piece.len() as u64;
        body.push(&piece, |octets| hash.update(octets));
    }
    body.finish(|octets| hash.update(octets));
    Ok(STANDARD.encode(hash.finish()))
}

#[cfg(test)]
mod tests {
    use host_mail::InMemory;

    use super::*;
    use crate::signing_key::generate_ed25519;

    fn signer(domain: &str, mail: SignedMail) -> DomainSigner {
        let pem = generate_ed25519().expect("made");
        DomainSigner {
            domain: domain.to_owned(),
            selector: "s1".to_owned(),
            key: SigningKey::from_pem(pem.as_bytes()).expect("a key"),
            fields: SignedFields::default(),
            mail,
            not_before: None,
            not_after: None,
        }
    }

    fn signatures(signers: &Signers, message: &str, mail: SignedMail, is_report: bool) -> usize {
        let origin = MailOrigin { mail, is_report };
        let content = InMemory(message.to_owned().into());
        let fields = signers.sign(&content, origin, Timestamp(5000)).expect("signed");
        String::from_utf8(fields)
            .expect("text")
            .matches("DKIM-Signature: v=1;")
            .count()
    }

    #[test]
    fn domain_of_the_only_author_chooses_the_keys() {
        let signers = Signers::new(vec![
            signer("a.example", SignedMail::Submissions),
            signer("a.example", SignedMail::All),
            signer("xn--bcher-kva.example", SignedMail::Submissions),
        ]);
        for (header, expected) in [
            ("From: Anna <anna@A.example>", 2),
            ("From: \"x@b.example\" <anna@a.example>", 2),
            ("From: anna@b\u{fc}cher.example", 1),
            ("From: anna@sub.a.example", 0),
            ("From: anna@a.example\r\nFrom: bert@b.example", 0),
            ("Sender: anna@a.example", 0),
            ("From: nonsense", 0),
        ] {
            let message = format!("{header}\r\n\r\nHello\r\n");
            assert_eq!(
                signatures(&signers, &message, SignedMail::Submissions, false),
                expected,
                "{header}"
            );
        }
        let message = "From: anna@a.example\r\n\r\nHello\r\n";
        assert_eq!(
            signatures(&signers, message, SignedMail::All, false),
            1,
            "of a stranger"
        );
        let report = "From: postmaster@mx.a.example\r\n\r\nHello\r\n";
        assert_eq!(signatures(&signers, report, SignedMail::Accounts, true), 2, "a report");
        assert_eq!(
            signatures(&signers, report, SignedMail::Accounts, false),
            0,
            "no report"
        );
    }

    #[test]
    fn header_that_is_too_long_to_read_is_not_signed() {
        let signers = Signers::new(vec![signer("a.example", SignedMail::All)]);
        for (fields, expected) in [(3_000, 1), (30_000, 0)] {
            let message = format!(
                "From: anna@a.example\r\n{}\r\nHello\r\n",
                "X-A: bcdef\r\n".repeat(fields)
            );
            assert_eq!(
                signatures(&signers, &message, SignedMail::All, false),
                expected,
                "{fields}"
            );
        }
    }

    #[test]
    fn keys_sign_within_their_time() {
        let timed = |not_before: Option<u64>, not_after: Option<u64>| DomainSigner {
            not_before: not_before.map(Timestamp),
            not_after: not_after.map(Timestamp),
            ..signer("a.example", SignedMail::All)
        };
        for (signer, expected) in [
            (timed(Some(5000), Some(5001)), 1),
            (timed(Some(5001), None), 0),
            (timed(None, Some(5000)), 0),
        ] {
            let signers = Signers::new(vec![signer]);
            let message = "From: anna@a.example\r\n\r\nHello\r\n";
            assert_eq!(signatures(&signers, message, SignedMail::Accounts, false), expected);
        }
    }

    #[test]
    fn lines_of_the_field_are_short() {
        let signers = Signers::new(vec![signer("a.example", SignedMail::All)]);
        let header = format!("From: anna@a.example\r\n{}", "To: a@b.example\r\n".repeat(40));
        let content = InMemory(format!("{header}\r\nHello\r\n").into());
        let origin = MailOrigin {
            mail: SignedMail::All,
            is_report: false,
        };
        let fields = signers.sign(&content, origin, Timestamp(5000)).expect("signed");
        let text = String::from_utf8(fields).expect("text");
        assert!(text.split("\r\n").all(|line| line.len() <= COLUMNS + 8), "{text}");
    }
}
