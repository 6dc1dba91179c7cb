//! Private keys: RSA (RFC 6376 section 3.3.1, RFC 8301 section 3.2) and Ed25519 (RFC 8463).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair as RsaKeyPair;
use ring::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

/// Object identifiers in the first octets of a PKCS #8 key (RFC 5208), by which the algorithm is known.
const RSA_ID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const ED25519_ID: &[u8] = &[0x2b, 0x65, 0x70];
/// DER of an Ed25519 private key (RFC 8410 section 7) up to the 32 octets of the key.
const ED25519_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// DER of the algorithm in the public key of RSA (RFC 3279 section 2.3.1).
const RSA_ALGORITHM: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// Algorithm of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// RSA with 2048 bits and more. Every verifier knows it.
    Rsa,
    /// Ed25519. A signature costs a thirtieth of RSA's; some verifiers ignore it.
    Ed25519,
}

impl KeyAlgorithm {
    /// Returns the name in the record of the key (RFC 6376 section 3.6.1).
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }

    /// Returns the name in signatures (RFC 6376 section 3.5, `a=`).
    pub(crate) fn signature_name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa-sha256",
            Self::Ed25519 => "ed25519-sha256",
        }
    }
}

/// Reason why a file is no key for DKIM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not a private key in PEM.
    #[error("is not a private key in PEM: there is no whole block BEGIN PRIVATE KEY")]
    NotAKey,
    /// The key is of an algorithm that DKIM does not have.
    #[error("is neither an RSA nor an Ed25519 key")]
    OtherAlgorithm,
    /// The RSA key is too short.
    #[error("is an RSA key of fewer than 2048 bits, which verifiers may refuse (RFC 8301): make a new key")]
    TooShort,
    /// The RSA key is longer than this host signs with.
    #[error("is an RSA key of more than 4096 bits")]
    TooLong,
    /// The key is damaged.
    #[error("is a damaged key: {0}")]
    Damaged(String),
    /// The system has no random numbers.
    #[error("no key could be made: {0}")]
    NotMade(String),
}

/// A private key that signs.
pub struct SigningKey(KeyPair);

enum KeyPair {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// Shows the algorithm and nothing of the key.
impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey").field(&self.algorithm()).finish()
    }
}

impl SigningKey {
    /// Reads the first private key of a PEM text.
    ///
    /// # Errors
    /// The text has no key, or a key that must not sign.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyError::NotAKey)?;
        match der {
            PrivateKeyDer::Pkcs1(der) => rsa(RsaKeyPair::from_der(der.secret_pkcs1_der())),
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let start = &der[..der.len().min(32)];
                let has = |id: &[u8]| start.windows(id.len()).any(|window| window == id);
                if has(RSA_ID) {
                    rsa(RsaKeyPair::from_pkcs8(der))
                } else if has(ED25519_ID) {
                    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
                    let pair = pair.map_err(|error| KeyError::Damaged(error.to_string()))?;
                    Ok(Self(KeyPair::Ed25519(Box::new(pair))))
                } else {
                    Err(KeyError::OtherAlgorithm)
                }
            }
            _ => Err(KeyError::OtherAlgorithm),
        }
    }

    /// Algorithm of the key.
    pub fn algorithm(&self) -> KeyAlgorithm {
        match &self.0 {
            KeyPair::Rsa(_) => KeyAlgorithm::Rsa,
            KeyPair::Ed25519(_) => KeyAlgorithm::Ed25519,
        }
    }

    /// Length of the key in bits.
    pub fn bits(&self) -> usize {
        match &self.0 {
            KeyPair::Rsa(pair) => pair.public().modulus_len() * 8,
            KeyPair::Ed25519(_) => 256,
        }
    }

    /// Returns the public key in base64, as in the tag `p=` of the record: of RSA the SubjectPublicKeyInfo, of Ed25519
    /// the 32 octets of the key (RFC 8463 section 4).
    pub fn public_key(&self) -> String {
        match &self.0 {
            KeyPair::Rsa(pair) => {
                let mut bits = vec![0];
                bits.extend_from_slice(pair.public_key().as_ref());
                STANDARD.encode(element(0x30, &[&RSA_ALGORITHM[..], &element(0x03, &bits)].concat()))
            }
            KeyPair::Ed25519(pair) => STANDARD.encode(pair.public_key().as_ref()),
        }
    }

    /// Signs the canonical header and returns the signature in base64.
    ///
    /// # Errors
    /// The system has no random numbers, which the arithmetic of RSA is blinded with.
    pub(crate) fn sign(&self, header: &[u8]) -> Result<String, ring::error::Unspecified> {
        match &self.0 {
            KeyPair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), header, &mut signature)?;
                Ok(STANDARD.encode(signature))
            }
            // RFC 8463 section 3: the signature is of the digest.
            KeyPair::Ed25519(pair) => {
                let digest = ring::digest::digest(&ring::digest::SHA256, header);
                Ok(STANDARD.encode(pair.sign(digest.as_ref())))
            }
        }
    }
}

fn rsa(read: Result<RsaKeyPair, ring::error::KeyRejected>) -> Result<SigningKey, KeyError> {
    match read {
        Ok(pair) => Ok(SigningKey(KeyPair::Rsa(Box::new(pair)))),
        Err(error) => Err(match error.to_string().as_str() {
            "TooSmall" => KeyError::TooShort,
            "TooLarge" => KeyError::TooLong,
            other => KeyError::Damaged(other.to_owned()),
        }),
    }
}

/// Makes an Ed25519 key and returns it as PKCS #8 in PEM.
///
/// # Errors
/// The system has no random numbers.
pub fn generate_ed25519() -> Result<String, KeyError> {
    let seed: ring::rand::Random<[u8; 32]> =
        ring::rand::generate(&SystemRandom::new()).map_err(|error| KeyError::NotMade(error.to_string()))?;
    let text = STANDARD.encode([&ED25519_PREFIX[..], &seed.expose()].concat());
    Ok(format!(
        "-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"
    ))
}

/// Returns a DER element of at most 65,535 octets.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    let [high, low] = length.to_be_bytes();
    let mut der = vec![tag];
    match (high, low) {
        (0, 0..=0x7f) => der.push(low),
        (0, _) => der.extend([0x81, low]),
        _ => der.extend([0x82, high, low]),
    }
    der.extend_from_slice(content);
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSA: &str = include_str!("test-keys/rsa-2048.pem");
    const RSA_PKCS1: &str = include_str!("test-keys/rsa-2048.pkcs1.pem");
    const SHORT: &str = include_str!("test-keys/rsa-1024.pem");

    fn key(pem: &str) -> SigningKey {
        SigningKey::from_pem(pem.as_bytes()).expect("a key")
    }

    fn refused(pem: &str) -> Option<KeyError> {
        SigningKey::from_pem(pem.as_bytes()).err()
    }

    #[test]
    fn reads_rsa_keys_in_both_forms() {
        for pem in [RSA, RSA_PKCS1] {
            let rsa = key(pem);
            assert_eq!((rsa.algorithm(), rsa.bits()), (KeyAlgorithm::Rsa, 2048));
            // SubjectPublicKeyInfo of a 2048-bit key with the exponent 65537.
            assert_eq!(STANDARD.decode(rsa.public_key()).expect("base64").len(), 294);
            assert!(rsa.public_key().starts_with("MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"));
        }
    }

    #[test]
    fn generated_key_is_read_back() {
        let made = key(&generate_ed25519().expect("made"));
        assert_eq!((made.algorithm(), made.bits()), (KeyAlgorithm::Ed25519, 256));
        assert_eq!(STANDARD.decode(made.public_key()).expect("base64").len(), 32);
        assert_eq!(
            format!("{made:?}"),
            "SigningKey(Ed25519)",
            "nothing of the key is shown"
        );
    }

    #[test]
    fn refuses_what_is_no_key_or_too_short() {
        assert_eq!(refused(SHORT), Some(KeyError::TooShort));
        let broken = RSA.replacen("MIIE", "MIIA", 1);
        assert!(refused(&broken).is_some());
        for text in [
            "",
            "no key",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            assert_eq!(refused(text), Some(KeyError::NotAKey), "{text}");
        }
        let other = "-----BEGIN PRIVATE KEY-----\nMBkCAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQc=\n-----END PRIVATE KEY-----\n";
        assert_eq!(refused(other), Some(KeyError::OtherAlgorithm));
    }
}
