//! Entries of `password` in the directory: argon2 hashes, and the hashes of other systems with or without Dovecot's
//! `{SCHEME}` in front. Each has a bound on its cost.

use argon2::password_hash::{PasswordHash, PasswordVerifier};
use argon2::{Argon2, Params};
use subtle::ConstantTimeEq as _;

use crate::crypt_hash::CryptHash;
use crate::hash_cost::too_expensive;
use crate::pbkdf2_hash::Pbkdf2Hash;
use crate::salted_digest::SaltedDigest;
use crate::scram_verifier::ScramVerifier;

/// Maximum memory parameter of an argon2 hash, in KiB.
const MAX_MEMORY: u32 = 256 * 1024;
/// Maximum number of passes of an argon2 hash.
const MAX_PASSES: u32 = 16;
/// Maximum length of a password that is checked, in bytes: the cost of some schemes grows with the length.
const MAX_PASSWORD: usize = 1024;

/// An entry of `password`, by the family of its scheme.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StoredPassword<'a> {
    /// PHC string of argon2id or argon2i (RFC 9106).
    Argon2(PasswordHash<'a>),
    /// Hash of crypt(3).
    Crypt(CryptHash<'a>),
    /// PBKDF2 (RFC 8018).
    Pbkdf2(Pbkdf2Hash),
    /// Digest, salted or not.
    Digest(SaltedDigest),
    /// Verifier of a SCRAM mechanism (RFC 5802).
    Scram(ScramVerifier),
    /// The password itself.
    Plain(&'a str),
}

impl<'a> StoredPassword<'a> {
    /// Parses an entry. The error says what is wrong with the entry, without repeating it.
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        let scheme_and_rest = text.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let Some((scheme, hash)) = scheme_and_rest else {
            return Self::without_scheme(text)?.ok_or_else(expected);
        };
        let scheme = scheme.to_ascii_uppercase();
        let wrong = || format!("is no hash of the scheme {{{scheme}}}");
        let parsed = match scheme.as_str() {
            "PLAIN" | "CLEAR" | "CLEARTEXT" if hash.is_empty() => return Err("an empty password is none".to_owned()),
            "PLAIN" | "CLEAR" | "CLEARTEXT" => Some(Self::Plain(hash)),
            "ARGON2" | "ARGON2ID" | "ARGON2I" => argon2(hash)?,
            "CRYPT" | "BLF-CRYPT" | "SHA256-CRYPT" | "SHA512-CRYPT" | "MD5-CRYPT" => {
                CryptHash::parse(hash)?.map(Self::Crypt)
            }
            "MD5" if hash.starts_with('$') => CryptHash::parse(hash)?.map(Self::Crypt),
            "PBKDF2" | "PBKDF2-SHA1" | "PBKDF2-SHA256" | "PBKDF2-SHA512" => {
                Pbkdf2Hash::parse_scheme(&scheme, hash)?.map(Self::Pbkdf2)
            }
            "SCRAM-SHA-1" | "SCRAM-SHA-256" => ScramVerifier::parse_dovecot(&scheme, hash)?.map(Self::Scram),
            _ => match SaltedDigest::parse(&scheme, hash) {
                Some(digest) => Some(Self::Digest(digest?)),
                None => return Err(format!("the scheme {{{scheme}}} is not read; {}", expected())),
            },
        };
        parsed.ok_or_else(wrong)
    }

    fn without_scheme(text: &'a str) -> Result<Option<Self>, String> {
        if text.starts_with("$argon2") {
            return argon2(text);
        }
        if let Some(verifier) = ScramVerifier::parse(text)? {
            return Ok(Some(Self::Scram(verifier)));
        }
        if let Some(hash) = Pbkdf2Hash::parse(text)? {
            return Ok(Some(Self::Pbkdf2(hash)));
        }
        Ok(CryptHash::parse(text)?.map(Self::Crypt))
    }

    /// True if the password matches. Blocks for the processor time that the parameters demand.
    pub(super) fn matches(&self, password: &str) -> bool {
        if password.len() > MAX_PASSWORD {
            return false;
        }
        match self {
            Self::Argon2(hash) => Argon2::default().verify_password(password.as_bytes(), hash).is_ok(),
            Self::Crypt(hash) => hash.matches(password),
            Self::Pbkdf2(hash) => hash.matches(password),
            Self::Digest(digest) => digest.matches(password),
            Self::Scram(verifier) => verifier.matches(password),
            Self::Plain(stored) => stored.as_bytes().ct_eq(password.as_bytes()).into(),
        }
    }

    /// True for the schemes of [`crate::hash_password`].
    pub(super) fn is_argon2(&self) -> bool {
        matches!(self, Self::Argon2(_))
    }

    /// Reason why a reader of the file would soon know the password, for a warning; `None` if guessing is slow.
    pub(super) fn weakness(&self) -> Option<&'static str> {
        match self {
            Self::Plain(_) => Some("is the password itself, for every reader of the file"),
            Self::Digest(_) => Some("is a digest that is computed once, and guessed fast by a reader of the file"),
            Self::Crypt(hash) if hash.is_md5() => Some("is MD5-CRYPT, and guessed fast by a reader of the file"),
            Self::Argon2(_) | Self::Crypt(_) | Self::Pbkdf2(_) | Self::Scram(_) => None,
        }
    }
}

fn expected() -> String {
    "expected an argon2id hash ($argon2id$…), or a hash of another system such as $2y$…, $6$… or {SSHA512}…; posthouse \
     account passwd makes one"
        .to_owned()
}

fn argon2(text: &str) -> Result<Option<StoredPassword<'_>>, String> {
    let Ok(hash) = PasswordHash::new(text) else {
        return Ok(None);
    };
    let is_read = hash.algorithm == argon2::ARGON2ID_IDENT || hash.algorithm == argon2::ARGON2I_IDENT;
    if !is_read || hash.salt.is_none() || hash.hash.is_none() {
        return Ok(None);
    }
    let params = Params::try_from(&hash).map_err(|error| format!("its parameters are wrong: {error}"))?;
    if params.m_cost() > MAX_MEMORY || params.t_cost() > MAX_PASSES {
        return Err(too_expensive(&format!("m={MAX_MEMORY} and t={MAX_PASSES} are")));
    }
    Ok(Some(StoredPassword::Argon2(hash)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Password of all hashes.
    const PASSWORD: &str = "tea at five";

    /// Hashes that Dovecot's `doveadm pw` and Python's passlib have made.
    const FOREIGN: &[&str] = &[
        "{SSHA}MBk5/6Dis1TTlrsBccJQwV+XOgXwjp88",
        "{SSHA256}ef/31/QQ6mNo9Nuui7iIayqfvlsmC7QSA9w9bnlsKwY3oLPi",
        "{SSHA512}F3boZXRFRI4bqAEyEcSZQf1rQPCoioyVhHObb76GlJvy17r/J/Se0YiimxHDFDZEHza4ZtOy0IkJsvqlth6mNeTd6f0=",
        "{SSHA512.HEX}4fb74ff2ec115ea08c618155fce1c04134d4416b1cd24dde3a3f109eb6286054bcea27b1b4be7cd3cfaf2efcaa46672e61a554cdb1f77f5d53b784664c5c98fe1cd212f6",
        "{SHA}3IiBjCLpjsNgusQCqc7fyXvJNpU=",
        "{sha256.b64}MT/1eWoXRgp2+N2teUgaKVQSYBu4NP6nmSrd2IFSUDk=",
        "{SMD5}ZbIp3ISfi8zEmCEZPXlrH7iGUUw=",
        "{LDAP-MD5}Nfz5yoBLdYf1wkgBYHzxxg==",
        "{MD5}Nfz5yoBLdYf1wkgBYHzxxg==",
        "{PLAIN-MD5}35fcf9ca804b7587f5c24801607cf1c6",
        "{MD5}$1$Zw6pI3Rc$Suz81ghxRRYzKnQLQeE3S0",
        "{MD5-CRYPT}$1$X63YVejo$4vx7XDlIyN5lkNNsdPx/s.",
        "{BLF-CRYPT}$2y$05$z2DUmYA4zhUD2PLl6.EwYuoheY64P9x24gKc.jZTI2Wpkk1GKi8IG",
        "$2b$05$z2DUmYA4zhUD2PLl6.EwYuoheY64P9x24gKc.jZTI2Wpkk1GKi8IG",
        "{CRYPT}$2y$05$3/dF82BN6LlN5rDhsUuVh.xDsOtxeJG2oocmGPcerlDal6vtNv3MS",
        "{SHA256-CRYPT}$5$NQddqq9c3TxqoCNv$x86dj8tz.5OanNwehLyMv.kr7aitR7.J0QE1G8Nj496",
        "{PBKDF2}$1$ImrKTqbem6OyiLEW$5000$2c0d4c24713fbf2e0b5377f475a82f3e48365e59",
        "{SCRAM-SHA-256}4096,VMtQbP8eC7+3m+8jciU2zw==,j0b3WXJXcyjTEdRr36qt4+cH3p89p6MIjUPouik59FY=,41bRDDWT1HVL47selVLPVDT01ldpEcaXmxvOpXRKs5M=",
        "SCRAM-SHA-256$4096:VMtQbP8eC7+3m+8jciU2zw==$j0b3WXJXcyjTEdRr36qt4+cH3p89p6MIjUPouik59FY=:41bRDDWT1HVL47selVLPVDT01ldpEcaXmxvOpXRKs5M=",
        "{SCRAM-SHA-1}4096,cDAtY7m23yQFCCfnFDXpQA==,a7y7TXGbzSJTOs3tGWg0AaTYZho=,iANQtrAHoxJYf+V9GPXUAoeZAYg=",
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$UXncCzo1WAh0Y5NtqIbD2Q$ICCFeeSz1ZWPLBXK7oyzLpA85HwM9L4lNiw1MZ/SO1o",
        "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$WsbIOqSdFr87V09GQkXLsg$0wXbfUpPMo0qqMWUp8vf8INCA7eLJU9SjN+SO7xFlXI",
        "{PLAIN}tea at five",
        "{Clear}tea at five",
    ];

    #[test]
    fn hashes_of_other_systems_match_their_password_alone() {
        for text in FOREIGN {
            let stored = StoredPassword::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(stored.matches(PASSWORD), "{text}");
            assert!(!stored.matches("tea at six"), "{text}");
            assert!(!stored.matches(&"x".repeat(MAX_PASSWORD + 1)), "{text}");
        }
    }

    #[test]
    fn damaged_hashes_are_parsed_without_a_panic() {
        for text in FOREIGN.iter().filter(|text| !text.contains("tea at five")) {
            for cut in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
                let _ = StoredPassword::parse(&text[..cut]);
            }
            let swapped = text.replace(['a', 'A'], "\u{e9}");
            assert!(
                StoredPassword::parse(&swapped).is_err() || swapped == *text,
                "{swapped}"
            );
        }
    }

    #[test]
    fn hashes_that_cost_too_much_are_refused() {
        let long = "a".repeat(86);
        for text in [
            "$argon2id$v=19$m=4194304,t=2,p=1$bm9ib2R5IGlzIGhlcmU$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
            "$2y$15$z2DUmYA4zhUD2PLl6.EwYuoheY64P9x24gKc.jZTI2Wpkk1GKi8IG".to_owned(),
            "$2y$31$z2DUmYA4zhUD2PLl6.EwYuoheY64P9x24gKc.jZTI2Wpkk1GKi8IG".to_owned(),
            format!("$6$rounds=1000001$salt${long}"),
            format!("$6$rounds=999999999$salt${long}"),
            "{PBKDF2}$1$ImrKTqbem6OyiLEW$2000001$2c0d4c24713fbf2e0b5377f475a82f3e48365e59".to_owned(),
            "{SCRAM-SHA-1}4294967295,cDAtY7m23yQFCCfnFDXpQA==,a7y7TXGbzSJTOs3tGWg0AaTYZho=,iANQtrAHoxJYf+V9GPXUAoeZAYg=".to_owned(),
        ] {
            let error = StoredPassword::parse(&text).expect_err(&text);
            assert!(error.contains("too much work"), "{text}: {error}");
        }
    }

    #[test]
    fn unknown_schemes_and_other_text_are_refused() {
        for text in [
            "",
            "{",
            "{}",
            "{}x",
            "secret",
            "$",
            "$$",
            "$1$",
            "$1$abc$def",
            "$2y$05$short",
            "$3$x$y",
            "$6$salt$short",
            "$y$j9T$abc$def",
            "{DES-CRYPT}antaMjN28DM5A",
            "{CRYPT}antaMjN28DM5A",
            "{PLAIN}",
            "{SSHA}",
            "{SHA256}abcd",
            "{SSHA.ROT13}abcd",
            "{SHA}3IiBjCLpjsNgusQCqc7fyXvJNpU=AAAA",
            "{PBKDF2}$1$salt$0$2c0d",
            "SCRAM-SHA-256$",
            "{SCRAM-SHA-256}4096,,,",
            "{SCRAM-SHA-256}0,VMtQbP8eC7+3m+8jciU2zw==,j0b3,41bR",
            "$pbkdf2-md5$1$a$b",
            "{\u{e9}}x",
            "{NT}35fcf9ca804b7587f5c24801607cf1c6",
        ] {
            assert!(StoredPassword::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_fast_schemes_are_called_weak() {
        let weak = |text: &str| StoredPassword::parse(text).expect("a hash").weakness().is_some();
        assert!(weak("{PLAIN}x") && weak("{SSHA}MBk5/6Dis1TTlrsBccJQwV+XOgXwjp88"));
        assert!(weak("{MD5-CRYPT}$1$X63YVejo$4vx7XDlIyN5lkNNsdPx/s."));
        assert!(!weak(
            "{PBKDF2}$1$ImrKTqbem6OyiLEW$5000$2c0d4c24713fbf2e0b5377f475a82f3e48365e59"
        ));
    }
}
