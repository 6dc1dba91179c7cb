//! Minisign keys and signatures.

/// A minisign key pair.
pub struct Signer {
    keys: minisign::KeyPair,
    /// The public key in base64, as configured in `signed-by`.
    pub public: String,
    /// The key id in upper-case hexadecimal digits, as printed by minisign.
    pub id: String,
}

impl Signer {
    /// Generates a key pair.
    #[expect(clippy::new_without_default, reason = "no two are equal")]
    pub fn new() -> Self {
        let keys = minisign::KeyPair::generate_unencrypted_keypair().expect("keys");
        let id = keys.pk.keynum().iter().rev().map(|byte| format!("{byte:02X}"));
        Self {
            public: keys.pk.to_base64(),
            id: id.collect(),
            keys,
        }
    }
}

/// Signs `bytes` and returns the content of a `.minisig` file.
pub fn sign(signer: &Signer, bytes: &[u8]) -> String {
    minisign::sign(Some(&signer.keys.pk), &signer.keys.sk, bytes, None, None)
        .expect("a signature")
        .into_string()
}
