//! Verifiers of SCRAM (RFC 5802): what a host keeps of a password so that a client can prove that it knows the password,
//! without sending it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::hash_cost::too_expensive;
use crate::pbkdf2_hash::Prf;

/// Iterations of new verifiers: a client computes for some tens of milliseconds. RFC 7677 section 4 asks for at least
/// 4096.
const ITERATIONS: u32 = 100_000;
/// Maximum number of iterations that is read.
const MAX_ITERATIONS: u32 = 1_000_000;
/// Maximum length of a salt, in bytes.
const MAX_SALT: usize = 64;

/// Verifier of SCRAM-SHA-256 or SCRAM-SHA-1.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    is_sha256: bool,
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

/// Formats without the keys.
impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(SCRAM verifier)")
    }
}

impl ScramVerifier {
    /// Computes the verifier of SCRAM-SHA-256 with a random salt. Blocks for some tens of milliseconds.
    pub fn of_password(password: &str) -> Self {
        Self::compute(true, password, &rand::random::<[u8; 16]>(), ITERATIONS)
    }

    /// Returns a verifier that no password matches. Its salt depends on `secret` and `user` alone, as that of an account
    /// does not change, either: a client cannot tell whether the user exists.
    pub(crate) fn decoy(secret: &[u8], user: &str) -> Self {
        let salt = Sha256::new().chain_update(secret).chain_update(user).finalize();
        Self {
            is_sha256: true,
            iterations: ITERATIONS,
            salt: salt[..16].to_vec(),
            stored_key: rand::random::<[u8; 32]>().to_vec(),
            server_key: rand::random::<[u8; 32]>().to_vec(),
        }
    }

    /// Parses `SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY` (RFC 5803, PostgreSQL); `None` if the text begins
    /// otherwise or is damaged.
    ///
    /// # Errors
    /// Too many iterations.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, String> {
        let Some((scheme, rest)) = text.split_once('$') else {
            return Ok(None);
        };
        Self::of_fields(scheme, rest.splitn(4, [':', '$']))
    }

    /// Parses `ITERATIONS,SALT,STOREDKEY,SERVERKEY`, as Dovecot writes it behind `{SCRAM-SHA-256}`.
    ///
    /// # Errors
    /// Too many iterations.
    pub(crate) fn parse_dovecot(scheme: &str, text: &str) -> Result<Option<Self>, String> {
        Self::of_fields(scheme, text.splitn(4, ','))
    }

    fn of_fields<'a>(scheme: &str, mut fields: impl Iterator<Item = &'a str>) -> Result<Option<Self>, String> {
        let length = match scheme {
            "SCRAM-SHA-256" => 32,
            "SCRAM-SHA-1" => 20,
            _ => return Ok(None),
        };
        let iterations = fields.next().and_then(|text| text.parse::<u32>().ok());
        let mut octets = || fields.next().and_then(|text| STANDARD.decode(text).ok());
        let (Some(iterations), Some(salt), Some(stored_key), Some(server_key)) =
            (iterations, octets(), octets(), octets())
        else {
            return Ok(None);
        };
        if iterations > MAX_ITERATIONS {
            return Err(too_expensive(&format!("{MAX_ITERATIONS} iterations are")));
        }
        let right = iterations > 0
            && (1..=MAX_SALT).contains(&salt.len())
            && stored_key.len() == length
            && server_key.len() == length;
        Ok(right.then_some(Self {
            is_sha256: length == 32,
            iterations,
            salt,
            stored_key,
            server_key,
        }))
    }

    fn compute(is_sha256: bool, password: &str, salt: &[u8], iterations: u32) -> Self {
        // RFC 5802 section 2.2; a password that SASLprep refuses is used as it is, as PostgreSQL does.
        let prepared = stringprep::saslprep(password).unwrap_or(password.into());
        let (prf, length) = if is_sha256 { (Prf::Sha256, 32) } else { (Prf::Sha1, 20) };
        let mut salted = vec![0; length];
        prf.derive(prepared.as_bytes(), salt, iterations, &mut salted);
        let client_key = hmac(is_sha256, &salted, b"Client Key");
        Self {
            is_sha256,
            iterations,
            salt: salt.to_vec(),
            stored_key: digest(is_sha256, &client_key),
            server_key: hmac(is_sha256, &salted, b"Server Key"),
        }
    }

    /// True if the password matches. Blocks for at most a second.
    pub(crate) fn matches(&self, password: &str) -> bool {
        let computed = Self::compute(self.is_sha256, password, &self.salt, self.iterations);
        computed.stored_key.ct_eq(&self.stored_key).into()
    }

    /// True if the verifier is one of SCRAM-SHA-256, the mechanism that the host offers.
    pub(crate) fn is_sha256(&self) -> bool {
        self.is_sha256
    }

    /// Attributes of the server's first message after the nonce: `s=SALT,i=ITERATIONS` (RFC 5802 section 5.1).
    pub fn salt_and_iterations(&self) -> String {
        format!("s={},i={}", STANDARD.encode(&self.salt), self.iterations)
    }

    /// Checks the client's proof of an exchange (RFC 5802 section 3). Returns the server's signature in base64, the
    /// host's own proof, or `None` if the proof is wrong.
    pub fn check_proof(&self, auth_message: &[u8], proof: &[u8]) -> Option<String> {
        let signature = hmac(self.is_sha256, &self.stored_key, auth_message);
        if proof.len() != signature.len() {
            return None;
        }
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(proof, mask)| proof ^ mask).collect();
        let is_right: bool = digest(self.is_sha256, &client_key).ct_eq(&self.stored_key).into();
        is_right.then(|| STANDARD.encode(hmac(self.is_sha256, &self.server_key, auth_message)))
    }
}

fn digest(is_sha256: bool, octets: &[u8]) -> Vec<u8> {
    match is_sha256 {
        true => Sha256::digest(octets).to_vec(),
        false => Sha1::digest(octets).to_vec(),
    }
}

fn hmac(is_sha256: bool, key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length.
    let computed = if is_sha256 {
        Hmac::<Sha256>::new_from_slice(key).map(|mac| mac.chain_update(message).finalize().into_bytes().to_vec())
    } else {
        Hmac::<Sha1>::new_from_slice(key).map(|mac| mac.chain_update(message).finalize().into_bytes().to_vec())
    };
    computed.unwrap_or_default()
}

/// Formats as RFC 5803 and PostgreSQL write a verifier.
impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.is_sha256 { "SCRAM-SHA-256" } else { "SCRAM-SHA-1" };
        write!(
            f,
            "{name}${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(&self.stored_key),
            STANDARD.encode(&self.server_key)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computes_the_keys_of_rfc_7677() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let verifier = ScramVerifier::compute(true, "pencil", &salt, 4096);
        assert_eq!(
            verifier.to_string(),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }

    #[test]
    fn decoys_keep_their_salt_and_match_nothing() {
        let decoy = ScramVerifier::decoy(b"secret", "anna");
        assert_eq!(decoy.salt, ScramVerifier::decoy(b"secret", "anna").salt);
        assert_ne!(decoy.salt, ScramVerifier::decoy(b"secret", "bert").salt);
        assert!(!decoy.matches(""));
    }
}
