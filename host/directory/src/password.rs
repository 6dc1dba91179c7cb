//! Passwords: argon2id hashes in PHC strings.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Argon2, Params};

/// No hash may ask for more memory than this to be checked, in KiB.
const MAX_MEMORY: u32 = 256 * 1024;
/// Nor for more passes.
const MAX_PASSES: u32 = 16;

/// The hash of nothing in particular, with the parameters [`hash_password`] uses: what the password
/// of an unknown user is compared to, so that it takes as long as that of a known one.
pub(super) const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGlzIGhlcmU$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PasswordError(pub String);

/// A PHC string with a random salt: argon2id, 19 MiB, two passes (RFC 9106; OWASP's minimum).
pub fn hash_password(password: &str) -> Result<String, PasswordError> {
    if password.is_empty() {
        return Err(PasswordError("an empty password is none".to_owned()));
    }
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(|error| PasswordError(error.to_string()))?;
    Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(|error| PasswordError(error.to_string()))
}

/// Whether the password fits the PHC string; takes as long as the hash's parameters say.
pub fn verify_password(password: &str, phc: &str) -> bool {
    PasswordHash::new(phc).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Whether a string of the directory is a hash that can be checked at a bearable price.
pub(super) fn check_hash(phc: &str) -> Result<(), String> {
    let wrong = || "expected an argon2id hash ($argon2id$…); posthouse account passwd makes one".to_owned();
    let hash = PasswordHash::new(phc).map_err(|_| wrong())?;
    if hash.algorithm != argon2::ARGON2ID_IDENT || hash.salt.is_none() || hash.hash.is_none() {
        return Err(wrong());
    }
    let params = Params::try_from(&hash).map_err(|error| format!("its parameters are wrong: {error}"))?;
    if params.m_cost() > MAX_MEMORY || params.t_cost() > MAX_PASSES {
        return Err(format!(
            "asks for too much work: at most m={MAX_MEMORY} and t={MAX_PASSES} are allowed"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_fits_its_password_only() {
        let phc = hash_password("tea at five").expect("hashes");
        assert!(check_hash(&phc).is_ok());
        assert!(verify_password("tea at five", &phc));
        assert!(!verify_password("tea at six", &phc));
        assert!(!verify_password("", &phc));
    }

    #[test]
    fn the_hash_of_nobody_costs_what_a_hash_costs() {
        let ours = hash_password("x").expect("hashes");
        assert!(check_hash(NOBODY).is_ok());
        let cost = |phc: &str| phc.split('$').nth(3).map(str::to_owned);
        assert_eq!(cost(NOBODY), cost(&ours));
        assert!(!verify_password("", NOBODY));
    }

    #[test]
    fn what_is_no_hash_or_a_costly_one_is_refused() {
        for bad in [
            "",
            "secret",
            "$1$abc$def",
            "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGlzIGhlcmU",
            "$argon2id$v=19$m=4194304,t=2,p=1$bm9ib2R5IGlzIGhlcmU$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(check_hash(bad).is_err(), "{bad}");
            assert!(!bad.is_empty() || !verify_password("", bad));
        }
        assert!(hash_password("").is_err());
    }
}
