//! Passwords: argon2id hashes in PHC strings.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Argon2, Params};

/// Maximum memory parameter of an accepted hash, in KiB.
const MAX_MEMORY: u32 = 256 * 1024;
/// Maximum number of passes of an accepted hash.
const MAX_PASSES: u32 = 16;

/// A dummy hash with the parameters of [`hash_password`] that matches no password. Passwords of unknown users are
/// checked against the dummy hash, so that the time of a check does not reveal whether a user exists.
pub(super) const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGlzIGhlcmU$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Reason why a password was not hashed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PasswordError(pub String);

/// Hashes a password with a random salt into a PHC string: argon2id, 19 MiB, two passes (RFC 9106; OWASP's minimum).
/// An empty password is an error.
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

/// True if the password matches the PHC string. Blocks for the processor time that the hash's parameters demand.
pub fn verify_password(password: &str, phc: &str) -> bool {
    PasswordHash::new(phc).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Checks that a string of the directory is an argon2id hash with parameters within [`MAX_MEMORY`] and [`MAX_PASSES`].
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
    fn matches_only_the_hashed_password() {
        let phc = hash_password("tea at five").expect("hashes");
        assert!(check_hash(&phc).is_ok());
        assert!(verify_password("tea at five", &phc));
        assert!(!verify_password("tea at six", &phc));
        assert!(!verify_password("", &phc));
    }

    #[test]
    fn dummy_hash_costs_as_much_as_a_real_hash() {
        let ours = hash_password("x").expect("hashes");
        assert!(check_hash(DUMMY_HASH).is_ok());
        let cost = |phc: &str| phc.split('$').nth(3).map(str::to_owned);
        assert_eq!(cost(DUMMY_HASH), cost(&ours));
        assert!(!verify_password("", DUMMY_HASH));
    }

    #[test]
    fn refuses_malformed_and_expensive_hashes() {
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
