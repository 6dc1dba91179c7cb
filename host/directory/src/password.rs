//! Passwords: new ones are hashed with argon2id; hashes of other systems are checked as well.

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, SaltString};

use crate::scram_verifier::ScramVerifier;
use crate::stored_password::StoredPassword;

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

/// Returns what the directory keeps of a new password: the argon2id hash of [`hash_password`], and the verifier of
/// SCRAM-SHA-256 (RFC 7677), which a client can use without sending the password. Blocks for some tens of milliseconds.
/// An empty password is an error.
pub fn password_verifiers(password: &str) -> Result<[String; 2], PasswordError> {
    Ok([
        hash_password(password)?,
        ScramVerifier::of_password(password).to_string(),
    ])
}

/// True if the password matches an entry of the directory. Blocks for the processor time that the entry's parameters
/// demand. An entry of another system costs the time of an argon2id hash in addition, so that a cheap hash does not reveal
/// that the user exists.
pub fn verify_password(password: &str, stored: &str) -> bool {
    let Ok(stored) = StoredPassword::parse(stored) else {
        return false;
    };
    if !stored.is_argon2() {
        let _ = StoredPassword::parse(DUMMY_HASH).is_ok_and(|dummy| dummy.matches(password));
    }
    stored.matches(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_only_the_hashed_password() {
        let verifiers = password_verifiers("tea at five").expect("hashes");
        for stored in &verifiers {
            assert!(StoredPassword::parse(stored).is_ok());
            assert!(verify_password("tea at five", stored));
            assert!(!verify_password("tea at six", stored));
            assert!(!verify_password("", stored));
        }
    }

    #[test]
    fn dummy_hash_costs_as_much_as_a_real_hash() {
        let ours = hash_password("x").expect("hashes");
        assert!(StoredPassword::parse(DUMMY_HASH).is_ok());
        let cost = |phc: &str| phc.split('$').nth(3).map(str::to_owned);
        assert_eq!(cost(DUMMY_HASH), cost(&ours));
        assert!(!verify_password("", DUMMY_HASH));
    }

    #[test]
    fn refuses_malformed_and_expensive_hashes() {
        for bad in [
            "",
            "secret",
            "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGlzIGhlcmU",
            "$argon2id$v=19$m=4194304,t=2,p=1$bm9ib2R5IGlzIGhlcmU$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(StoredPassword::parse(bad).is_err(), "{bad}");
            assert!(!verify_password("", bad));
        }
        assert!(hash_password("").is_err());
    }
}
