//! Digests of a password, computed once: `{SSHA512}` and its relatives of OpenLDAP and Dovecot.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq as _;

use crate::hex::decode_hex;

/// Maximum length of a salt, in bytes.
const MAX_SALT: usize = 64;

/// Function of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DigestKind {
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl DigestKind {
    /// Length of the digest, in bytes.
    fn length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn digest(self, parts: [&[u8]; 2]) -> Vec<u8> {
        fn of<D: Digest>(parts: [&[u8]; 2]) -> Vec<u8> {
            let mut digest = D::new();
            parts.iter().for_each(|part| digest.update(part));
            digest.finalize().to_vec()
        }
        match self {
            Self::Md5 => of::<Md5>(parts),
            Self::Sha1 => of::<Sha1>(parts),
            Self::Sha256 => of::<Sha256>(parts),
            Self::Sha512 => of::<Sha512>(parts),
        }
    }
}

/// A digest of password and salt, in that order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SaltedDigest {
    kind: DigestKind,
    digest: Vec<u8>,
    salt: Vec<u8>,
}

impl SaltedDigest {
    /// Parses the text after a scheme in upper case; `None` if the scheme is no digest. The text is base64 or
    /// hexadecimal, as a suffix `.B64`, `.BASE64` or `.HEX` of the scheme says; without a suffix its length decides, as in
    /// Dovecot.
    pub(super) fn parse(scheme: &str, text: &str) -> Option<Result<Self, String>> {
        let (name, encoding) = scheme.split_once('.').map_or((scheme, ""), |(name, rest)| (name, rest));
        let (kind, salted) = match name {
            "PLAIN-MD5" | "LDAP-MD5" | "MD5" => (DigestKind::Md5, false),
            "SMD5" => (DigestKind::Md5, true),
            "SHA" | "SHA1" => (DigestKind::Sha1, false),
            "SSHA" => (DigestKind::Sha1, true),
            "SHA256" => (DigestKind::Sha256, false),
            "SSHA256" => (DigestKind::Sha256, true),
            "SHA512" => (DigestKind::Sha512, false),
            "SSHA512" => (DigestKind::Sha512, true),
            _ => return None,
        };
        let octets = match encoding {
            "HEX" => decode_hex(text),
            "B64" | "BASE64" => STANDARD.decode(text).ok(),
            "" if !salted && text.len() == 2 * kind.length() => decode_hex(text),
            "" => STANDARD.decode(text).ok(),
            _ => return None,
        };
        let octets = octets.filter(|octets| match octets.len().checked_sub(kind.length()) {
            Some(salt) => {
                if salted {
                    (1..=MAX_SALT).contains(&salt)
                } else {
                    salt == 0
                }
            }
            None => false,
        });
        Some(match octets {
            Some(mut digest) => {
                let salt = digest.split_off(kind.length());
                Ok(Self { kind, digest, salt })
            }
            None => Err(format!("is no hash of the scheme {{{scheme}}}")),
        })
    }

    /// True if the password matches.
    pub(super) fn matches(&self, password: &str) -> bool {
        let digest = self.kind.digest([password.as_bytes(), &self.salt]);
        digest.ct_eq(&self.digest).into()
    }
}
