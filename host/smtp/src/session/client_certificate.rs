//! The certificate that a client has shown in the TLS handshake, verified by the listener's `client-ca`.

use std::fmt::Write as _;

/// Maximum number of names that are taken from a certificate.
const MAX_NAMES: usize = 16;
/// Maximum length of the subject, in bytes.
const MAX_SUBJECT: usize = 1024;

/// Tags of DER (X.690).
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
/// `[0]` with the version of a certificate.
const VERSION: u8 = 0xa0;
/// `[3]` with the extensions of a certificate.
const EXTENSIONS: u8 = 0xa3;
/// `[1]`, the mail address among alternative names.
const RFC822_NAME: u8 = 0x81;

/// Object identifiers of attributes, with the names of RFC 4514 section 3 and of RFC 2985.
const ATTRIBUTES: [(&[u8], &str); 9] = [
    (COMMON_NAME, "CN"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19], "DC"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01], "UID"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01], "emailAddress"),
];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// Object identifier of the extension `subjectAltName`.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// A verified client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Distinguished name of the subject (RFC 4514), such as `CN=anna,O=Example`; other attributes than those with a name
    /// there are left out.
    pub subject: String,
    /// Mail addresses (`rfc822Name`), then common names: an account with one of these names is the client.
    pub names: Vec<String>,
}

impl ClientCertificate {
    /// Parses a certificate (RFC 5280 section 4.1) that was verified. `None` if it cannot be parsed.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let mut certificate = Der(Der(der).take(SEQUENCE)?);
        let mut fields = Der(certificate.take(SEQUENCE)?);
        let _version = fields.take(VERSION);
        // Serial number, signature algorithm, issuer, validity.
        for _ in 0..4 {
            fields.next()?;
        }
        let attributes = attributes(fields.take(SEQUENCE)?)?;
        let mut names = Vec::new();
        while let Some((tag, value)) = fields.next() {
            if tag == EXTENSIONS {
                names = mail_addresses(value)?;
            }
        }
        let common = attributes.iter().filter(|(kind, _)| *kind == "CN");
        names.extend(common.map(|(_, name)| name.clone()));
        names.truncate(MAX_NAMES);
        let mut subject = String::new();
        // RFC 4514 section 2.1: the last attribute first.
        for (kind, value) in attributes.iter().rev() {
            let comma = if subject.is_empty() { "" } else { "," };
            let _ = write!(subject, "{comma}{kind}={}", escaped(value));
        }
        Some(Self {
            subject: host_mail::cut(subject, MAX_SUBJECT),
            names,
        })
    }
}

/// Reads the attributes of a distinguished name.
fn attributes(name: &[u8]) -> Option<Vec<(&'static str, String)>> {
    let mut found = Vec::new();
    let mut sets = Der(name);
    while !sets.0.is_empty() {
        let mut set = Der(sets.take(SET)?);
        while !set.0.is_empty() {
            let mut attribute = Der(set.take(SEQUENCE)?);
            let identifier = attribute.take(OBJECT_IDENTIFIER)?;
            let (_, value) = attribute.next()?;
            let known = ATTRIBUTES.iter().find(|(known, _)| *known == identifier);
            if let (Some((_, kind)), Ok(text)) = (known, std::str::from_utf8(value)) {
                found.push((*kind, text.to_owned()));
            }
        }
    }
    Some(found)
}

/// Reads the mail addresses among the alternative names in the extensions.
fn mail_addresses(extensions: &[u8]) -> Option<Vec<String>> {
    let mut extensions = Der(Der(extensions).take(SEQUENCE)?);
    let mut addresses = Vec::new();
    while !extensions.0.is_empty() {
        let mut extension = Der(extensions.take(SEQUENCE)?);
        if extension.take(OBJECT_IDENTIFIER)? != ALTERNATIVE_NAMES {
            continue;
        }
        // A flag that the extension is critical may stand between.
        let value = match extension.next()? {
            (OCTET_STRING, value) => value,
            _ => extension.take(OCTET_STRING)?,
        };
        let mut names = Der(Der(value).take(SEQUENCE)?);
        while let Some((tag, name)) = names.next() {
            if tag == RFC822_NAME {
                addresses.extend(std::str::from_utf8(name).ok().map(str::to_owned));
            }
        }
    }
    Some(addresses)
}

/// Escapes an attribute's value (RFC 4514 section 2.4).
fn escaped(value: &str) -> String {
    let mut out = String::new();
    for (index, c) in value.char_indices() {
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => out.extend(['\\', c]),
            ' ' | '#' if index == 0 => out.extend(['\\', c]),
            c if c.is_control() => {
                let mut octets = [0; 4];
                for octet in c.encode_utf8(&mut octets).bytes() {
                    let _ = write!(out, "\\{octet:02X}");
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// A reader of elements of DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Takes the next element if it has the tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() != Some(&tag) {
            return None;
        }
        self.next().map(|(_, value)| value)
    }

    /// Takes the next element: its tag and its content. `None` at the end and for a damaged element.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match first {
            short if short < 0x80 => (usize::from(short), rest),
            // Up to three octets of length.
            long @ 0x81..=0x83 => {
                let (octets, rest) = rest.split_at_checked(usize::from(long - 0x80))?;
                (
                    octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)),
                    rest,
                )
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate of openssl: `O=Example, Inc.`, `CN=Anna A.`, the mail address of the name.
    const CERTIFICATE: &str = "MIIB5zCCAYygAwIBAgIUL+s9XtHZjSAHZsuUIT7/HPS8NCIwCgYIKoZIzj0EAwIwKjEWMBQGA1UECgwNRXhhbXBsZSwgSW5jLjEQMA4GA1UEAwwHQW5uYSBBLjAeFw0yNjExMzAxMzA4NTlaFw0yODAxMDQxMzA4NTlaMCoxFjAUBgNVBAoMDUV4YW1wbGUsIEluYy4xEDAOBgNVBAMMB0FubmEgQS4wWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATYWTdLA+Uu9/9mYvZVc9u/7Y/1JuoFtReNayZxZK+SceiHDpw77xQsSDEhwgmNtECue/PqeN4HhOryD6VGMcfjo4GPMIGMMB0GA1UdDgQWBBQCpGodb2IuMaXOvDV6Xyencrs5yjAfBgNVHSMEGDAWgBQCpGodb2IuMaXOvDV6Xyencrs5yjAPBgNVHRMBAf8EBTADAQH/MDkGA1UdEQEB/wQvMC2CCXguZXhhbXBsZYETYW5uYUBwb3N0aG91c2UudGVzdIELYUBiLmV4YW1wbGUwCgYIKoZIzj0EAwIDSQAwRgIhAOPrCAskRAA15ZKjlyp4tfi25rzJneUuSQX/WcO668H2AiEA8iBNcByHIt5YovMAWXhVRR8POmn/1EFTDA3+LbGewbw=";

    #[test]
    fn reads_subject_and_mail_addresses_and_survives_damage() {
        use base64::Engine as _;
        let der = base64::engine::general_purpose::STANDARD
            .decode(CERTIFICATE)
            .expect("base64");
        let parsed = ClientCertificate::parse(&der).expect("a certificate");
        assert_eq!(parsed.subject, "CN=Anna A.,O=Example\\, Inc.");
        assert_eq!(parsed.names, ["anna@posthouse.test", "a@b.example", "Anna A."]);
        for cut in 0..der.len() {
            let _ = ClientCertificate::parse(&der[..cut]);
            let mut damaged = der.clone();
            damaged[cut] ^= 0xff;
            let _ = ClientCertificate::parse(&damaged);
        }
        assert_eq!(ClientCertificate::parse(&der[..der.len() / 2]), None);
    }
}
