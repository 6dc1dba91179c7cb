//! PBKDF2 hashes (RFC 8018): of Dovecot, of passlib (also in OpenLDAP and 389-ds), of Django, and PHC strings.

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine as _};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq as _;

use crate::hash_cost::too_expensive;
use crate::hex::decode_hex;

/// Maximum number of rounds.
pub(super) const MAX_ROUNDS: u32 = 2_000_000;
/// Lengths of a key that is read, in bytes.
const KEY_LENGTHS: std::ops::RangeInclusive<usize> = 16..=64;
/// Maximum length of a salt, in bytes.
const MAX_SALT: usize = 1024;

/// Base64 with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Hash function of the HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prf {
    /// HMAC-SHA-1.
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

impl Prf {
    /// Fills `key` with the derived key.
    pub(super) fn derive(self, password: &[u8], salt: &[u8], rounds: u32, key: &mut [u8]) {
        match self {
            Self::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, rounds, key),
            Self::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, rounds, key),
            Self::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, rounds, key),
        }
    }
}

/// A derived key with the parameters of its derivation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pbkdf2Hash {
    prf: Prf,
    rounds: u32,
    salt: Vec<u8>,
    key: Vec<u8>,
}

impl Pbkdf2Hash {
    /// Parses `$pbkdf2-sha256$ROUNDS$SALT$KEY` of passlib, `$pbkdf2-sha256$i=ROUNDS,l=LENGTH$SALT$KEY` (PHC), and
    /// `pbkdf2_sha256$ROUNDS$SALT$KEY` of Django; `None` if the text is none of them.
    ///
    /// # Errors
    /// Too many rounds.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, String> {
        if let Some(rest) = text.strip_prefix("pbkdf2_") {
            let mut parts = rest.split('$');
            let (name, rounds, salt, key) = (parts.next(), parts.next(), parts.next(), parts.next());
            let prf = name.and_then(|name| prf(&name.to_ascii_uppercase()));
            let salt = salt.map(|salt| salt.as_bytes().to_vec());
            let key = key.and_then(|key| STANDARD.decode(key).ok());
            return Self::checked(prf, rounds, salt, key);
        }
        let Some(rest) = text.strip_prefix("$pbkdf2") else {
            return Ok(None);
        };
        let Some((name, rest)) = rest.split_once('$') else {
            return Ok(None);
        };
        let name = if name.is_empty() { "-sha1" } else { name };
        let prf = name.strip_prefix('-').and_then(|name| prf(&name.to_ascii_uppercase()));
        Self::rounds_salt_key(prf, rest)
    }

    /// Parses the text after a scheme in upper case: `$1$SALT$ROUNDS$HEX` of Dovecot, or `ROUNDS$SALT$KEY` of passlib.
    ///
    /// # Errors
    /// Too many rounds.
    pub(super) fn parse_scheme(scheme: &str, text: &str) -> Result<Option<Self>, String> {
        if let Some(rest) = text.strip_prefix("$1$") {
            let mut parts = rest.split('$');
            let (salt, rounds, key) = (parts.next(), parts.next(), parts.next());
            let salt = salt.map(|salt| salt.as_bytes().to_vec());
            return Self::checked(Some(Prf::Sha1), rounds, salt, key.and_then(decode_hex));
        }
        Self::rounds_salt_key(prf(scheme.strip_prefix("PBKDF2-").unwrap_or("SHA1")), text)
    }

    fn rounds_salt_key(prf: Option<Prf>, text: &str) -> Result<Option<Self>, String> {
        let mut parts = text.split('$');
        let (rounds, salt, key) = (parts.next(), parts.next(), parts.next());
        let rounds = rounds.map(|text| text.split(',').find_map(|part| part.strip_prefix("i=")).unwrap_or(text));
        // passlib writes a dot for a plus sign.
        let decode = |text: &str| LENIENT.decode(text.replace('.', "+")).ok();
        Self::checked(prf, rounds, salt.and_then(decode), key.and_then(decode))
    }

    fn checked(
        prf: Option<Prf>,
        rounds: Option<&str>,
        salt: Option<Vec<u8>>,
        key: Option<Vec<u8>>,
    ) -> Result<Option<Self>, String> {
        let (Some(prf), Some(rounds), Some(salt), Some(key)) = (prf, rounds, salt, key) else {
            return Ok(None);
        };
        if !rounds.chars().all(|c| c.is_ascii_digit()) || salt.len() > MAX_SALT || !KEY_LENGTHS.contains(&key.len()) {
            return Ok(None);
        }
        match rounds.parse() {
            Ok(0) => Ok(None),
            Ok(rounds) if rounds <= MAX_ROUNDS => Ok(Some(Self { prf, rounds, salt, key })),
            Ok(_) | Err(_) if !rounds.is_empty() => Err(too_expensive(&format!("{MAX_ROUNDS} rounds are"))),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// True if the password matches. Blocks for at most a few seconds.
    pub(super) fn matches(&self, password: &str) -> bool {
        let mut key = vec![0; self.key.len()];
        self.prf.derive(password.as_bytes(), &self.salt, self.rounds, &mut key);
        key.ct_eq(&self.key).into()
    }
}

fn prf(name: &str) -> Option<Prf> {
    match name {
        "SHA1" => Some(Prf::Sha1),
        "SHA256" => Some(Prf::Sha256),
        "SHA512" => Some(Prf::Sha512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_formats_of_other_systems() {
        let mut key = [0; 32];
        Prf::Sha256.derive(b"tea at five", b"saltsalt", 1000, &mut key);
        let standard = STANDARD.encode(key);
        let adapted = standard.trim_end_matches('=').replace('+', ".");
        for text in [
            format!("pbkdf2_sha256$1000$saltsalt${standard}"),
            format!("$pbkdf2-sha256$1000$c2FsdHNhbHQ${adapted}"),
            format!(
                "$pbkdf2-sha256$i=1000,l=32$c2FsdHNhbHQ${}",
                standard.trim_end_matches('=')
            ),
        ] {
            let hash = Pbkdf2Hash::parse(&text).expect("cheap").expect(&text);
            assert!(hash.matches("tea at five") && !hash.matches("tea at six"), "{text}");
        }
        let scheme = Pbkdf2Hash::parse_scheme("PBKDF2-SHA256", &format!("1000$c2FsdHNhbHQ${adapted}"));
        assert!(scheme.expect("cheap").expect("a hash").matches("tea at five"));
    }

    #[test]
    fn agrees_with_rfc_6070() {
        let mut key = [0; 20];
        Prf::Sha1.derive(b"password", b"salt", 2, &mut key);
        assert_eq!(
            Some(key.to_vec()),
            decode_hex("ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957")
        );
    }
}
