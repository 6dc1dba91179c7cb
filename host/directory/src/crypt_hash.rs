//! Hashes of crypt(3): bcrypt, SHA256-CRYPT, SHA512-CRYPT and MD5-CRYPT.

use md5::{Digest, Md5};
use sha_crypt::{ROUNDS_DEFAULT, ROUNDS_MIN, Sha256Params, Sha512Params, sha256_crypt_b64, sha512_crypt_b64};
use subtle::ConstantTimeEq as _;

use crate::hash_cost::too_expensive;

/// Maximum cost of bcrypt: 2^14 rounds, about a second.
const MAX_BCRYPT_COST: u32 = 14;
/// Maximum number of rounds of SHA256-CRYPT and SHA512-CRYPT.
const MAX_SHA_ROUNDS: usize = 1_000_000;
/// Maximum length of a password for SHA256-CRYPT and SHA512-CRYPT, in bytes: glibc's `CRYPT_MAX_PASSPHRASE_SIZE`.
const MAX_PASSPHRASE: usize = 512;
/// Digits of crypt(3), in the order of their values.
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A hash of crypt(3).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CryptHash<'a> {
    /// The complete hash of bcrypt, `$2a$`, `$2b$` or `$2y$`.
    Bcrypt(&'a str),
    /// SHA256-CRYPT, `$5$`.
    Sha256(Salted<'a>),
    /// SHA512-CRYPT, `$6$`.
    Sha512(Salted<'a>),
    /// MD5-CRYPT, `$1$`.
    Md5(Salted<'a>),
}

/// Salt, rounds and hash in the digits of crypt(3).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Salted<'a> {
    salt: &'a str,
    rounds: usize,
    hash: &'a str,
}

impl<'a> CryptHash<'a> {
    /// Parses a hash; `None` if the text is none of these.
    ///
    /// # Errors
    /// Cost above the bound of the scheme.
    pub(super) fn parse(text: &'a str) -> Result<Option<Self>, String> {
        let Some((id, rest)) = text.strip_prefix('$').and_then(|rest| rest.split_once('$')) else {
            return Ok(None);
        };
        match id {
            "2a" | "2b" | "2y" => bcrypt(text, rest),
            "1" => Ok(salted(rest, 1000, 8, 22).map(Self::Md5)),
            "5" => Ok(sha_crypt(rest, 43)?.map(Self::Sha256)),
            "6" => Ok(sha_crypt(rest, 86)?.map(Self::Sha512)),
            _ => Ok(None),
        }
    }

    /// True if the password matches. Blocks for at most a few seconds.
    pub(super) fn matches(&self, password: &str) -> bool {
        let octets = password.as_bytes();
        let (computed, stored) = match self {
            Self::Bcrypt(hash) => return bcrypt::verify(octets, hash).unwrap_or(false),
            Self::Sha256(_) | Self::Sha512(_) if octets.len() > MAX_PASSPHRASE => return false,
            Self::Sha256(stored) => {
                let params = Sha256Params::new(stored.rounds);
                let computed = params.and_then(|params| sha256_crypt_b64(octets, stored.salt.as_bytes(), &params));
                (computed.ok(), stored)
            }
            Self::Sha512(stored) => {
                let params = Sha512Params::new(stored.rounds);
                let computed = params.and_then(|params| sha512_crypt_b64(octets, stored.salt.as_bytes(), &params));
                (computed.ok(), stored)
            }
            Self::Md5(stored) => (Some(md5_crypt(octets, stored.salt.as_bytes())), stored),
        };
        computed.is_some_and(|computed| computed.as_bytes().ct_eq(stored.hash.as_bytes()).into())
    }

    /// True for MD5-CRYPT.
    pub(super) fn is_md5(&self) -> bool {
        matches!(self, Self::Md5(_))
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|octet| DIGITS.contains(&octet))
}

fn bcrypt<'a>(text: &'a str, rest: &str) -> Result<Option<CryptHash<'a>>, String> {
    let Some((cost, hash)) = rest.split_once('$') else {
        return Ok(None);
    };
    let Ok(cost) = cost.parse::<u32>() else {
        return Ok(None);
    };
    if hash.len() != 53 || !is_digits(hash) || cost < 4 {
        return Ok(None);
    }
    if cost > MAX_BCRYPT_COST {
        return Err(too_expensive(&format!("a cost of {MAX_BCRYPT_COST} is")));
    }
    Ok(Some(CryptHash::Bcrypt(text)))
}

fn sha_crypt(rest: &str, length: usize) -> Result<Option<Salted<'_>>, String> {
    let (rounds, rest) = match rest.strip_prefix("rounds=").and_then(|rest| rest.split_once('$')) {
        Some((rounds, rest)) => (rounds.parse::<usize>().ok(), rest),
        None => (Some(ROUNDS_DEFAULT), rest),
    };
    match rounds {
        Some(rounds) if rounds > MAX_SHA_ROUNDS => Err(too_expensive(&format!("{MAX_SHA_ROUNDS} rounds are"))),
        Some(rounds) if rounds >= ROUNDS_MIN => Ok(salted(rest, rounds, 16, length)),
        _ => Ok(None),
    }
}

/// Splits `SALT$HASH`.
fn salted(text: &str, rounds: usize, longest_salt: usize, length: usize) -> Option<Salted<'_>> {
    let (salt, hash) = text.split_once('$')?;
    let right = salt.len() <= longest_salt && salt.is_ascii() && hash.len() == length && is_digits(hash);
    right.then_some(Salted { salt, rounds, hash })
}

/// Computes MD5-CRYPT (Poul-Henning Kamp, FreeBSD 2.0), in the digits of crypt(3).
fn md5_crypt(password: &[u8], salt: &[u8]) -> String {
    let digest = |parts: &[&[u8]]| -> [u8; 16] {
        let mut digest = Md5::new();
        parts.iter().for_each(|part| digest.update(part));
        digest.finalize().into()
    };
    let inner = digest(&[password, salt, password]);
    let mut first = Md5::new();
    first.update(password);
    first.update(b"$1$");
    first.update(salt);
    for chunk in password.chunks(inner.len()) {
        first.update(&inner[..chunk.len()]);
    }
    let mut bits = password.len();
    while bits > 0 {
        first.update(if bits & 1 == 1 { &[0][..] } else { &password[..1] });
        bits >>= 1;
    }
    let mut state: [u8; 16] = first.finalize().into();
    for round in 0..1000 {
        let (front, back): (&[u8], &[u8]) = match round % 2 {
            1 => (password, &state),
            _ => (&state, password),
        };
        let salt = if round % 3 == 0 { &[][..] } else { salt };
        let again = if round % 7 == 0 { &[][..] } else { password };
        state = digest(&[front, salt, again, back]);
    }
    let triples = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let mut text = String::with_capacity(22);
    for [high, middle, low] in triples {
        let group = u32::from(state[high]) << 16 | u32::from(state[middle]) << 8 | u32::from(state[low]);
        push_digits(&mut text, group, 4);
    }
    push_digits(&mut text, u32::from(state[11]), 2);
    text
}

/// Appends the lowest digits of six bits each, the lowest first.
fn push_digits(text: &mut String, mut value: u32, count: usize) {
    for _ in 0..count {
        text.push(char::from(DIGITS[(value & 63) as usize]));
        value >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_crypt_agrees_with_crypt_3_for_passwords_of_any_length() {
        for (password, hash) in MD5 {
            let hash = CryptHash::parse(hash).expect("cheap").expect("a hash");
            assert!(hash.matches(password), "{password:?}");
        }
    }

    #[test]
    fn reads_rounds_of_sha_crypt() {
        for (password, hash) in SHA {
            let hash = CryptHash::parse(hash).expect("cheap").expect("a hash");
            assert!(hash.matches(password) && !hash.matches("other"), "{password:?}");
        }
    }

    /// Hashes that glibc's crypt(3) has made.
    const MD5: &[(&str, &str)] = &[
        ("", "$1$saltsalt$5Jhcit4zN9UlGiA0txPkO0"),
        ("a", "$1$saltsalt$MzDjbImyzEz2m0NTiPzNW/"),
        ("tea at five", "$1$saltsalt$2FqUs8X2ZkIbNQcIJU/76."),
        ("xxxxxxxxxxxxxxxx", "$1$saltsalt$VAeOIBZkIkZ3oIWL3NWV51"),
        ("yyyyyyyyyyyyyyyyy", "$1$saltsalt$dBexT7203TMycGX7cu.Nx/"),
        ("grüße", "$1$saltsalt$sJ00K9rlE6JgycU09WZFs1"),
        (
            "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
            "$1$saltsalt$BTJtXvrwZNflOksuwrkmq.",
        ),
    ];
    const SHA: &[(&str, &str)] = &[
        (
            "tea at five",
            "$5$rounds=1000$abc$l0NnHUBUltlY5su69vV9n3yME.gV/xJIPZcsdgbxyF2",
        ),
        (
            "tea at five",
            "$6$rounds=1001$abcdefghijklmnop$57Y6sNhiu3ZQSpZ5VTUGRKgvFFbV0Zvamms.bwCjcSS25h8ewO6GFuvqf5pTbpQ335X0GlWmoP6TLZ/OrWUxN/",
        ),
        (
            "grüße",
            "$6$abc$z.2ymU5HTQBfJNlTMBhbmIGszv2hXvl3Q3AXrxDW50tucWqtXl5.o.RSAfg964GDyBcTS3MMx3ae1L62yRycT.",
        ),
        (
            "",
            "$6$x$QSmr1Bx2g4O6BzKvdkgOcyU6H91X6I/XBv5pSalMhSPkwdH6Beo3F455xZJg0v//bxVK5F4OE5k1.0xuR26MK0",
        ),
        (
            "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
            "$5$y$1pCGBK9K1LiPQ7fLU9Q0NItK43Zdu32m6lTUHBfIyO0",
        ),
    ];
}
