//! Passwords: argon2id hashes in PHC strings.

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PasswordError(pub String);

/// A PHC string with a random salt.
pub fn hash_password(_password: &str) -> Result<String, PasswordError> {
    todo!()
}

/// Whether the password fits the PHC string; takes as long as the hash's parameters say.
pub fn verify_password(_password: &str, _phc: &str) -> bool {
    todo!()
}
