//! minisign keys and signatures.

/// Somebody with a minisign key.
pub struct Signer {
    keys: minisign::KeyPair,
    /// As `signed-by` has it.
    pub public: String,
    /// As minisign prints it.
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

/// The content of a `.minisig` file.
pub fn sign(signer: &Signer, bytes: &[u8]) -> String {
    minisign::sign(Some(&signer.keys.pk), &signer.keys.sk, bytes, None, None)
        .expect("a signature")
        .into_string()
}
