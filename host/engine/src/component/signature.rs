//! Signatures of components: minisign signatures over the bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign_verify::{Error, PublicKey, Signature};

use host_config::Problem;

/// Maximum size of a signature file, in bytes; a real file has a few hundred.
pub const SIGNATURE_SIZE: u64 = 16 << 10;

/// Checks that one of `keys` signed `bytes`; without keys no signature is required. `place` is the module's place in
/// the configuration, for messages.
pub fn verify(bytes: &[u8], signature: Option<&str>, keys: &[String], place: &str) -> Result<(), Problem> {
    if keys.is_empty() {
        return Ok(());
    }
    let wrong = |text: String| Problem::new("signature", text);
    let Some(text) = signature else {
        return Err(wrong(format!(
            "unsigned, and {place}.signed-by asks for a signature: sign it (minisign -S -m FILE) and put FILE.minisig \
             beside it"
        )));
    };
    let signature = Signature::decode(text)
        .map_err(|_| wrong("not a minisign signature: expected the four lines of a .minisig file".to_owned()))?;
    for key in keys.iter().filter_map(|key| PublicKey::from_base64(key).ok()) {
        match key.verify(bytes, &signature, false) {
            Ok(()) => return Ok(()),
            Err(Error::UnexpectedKeyId) => {}
            Err(Error::UnexpectedAlgorithm) => {
                return Err(wrong(
                    "a signature of the legacy kind: sign it again with minisign 0.10 or later".to_owned(),
                ));
            }
            Err(_) => {
                return Err(wrong(
                    "does not belong to this file: the file or the signature was changed after signing".to_owned(),
                ));
            }
        }
    }
    Err(wrong(format!(
        "signed with key {}, which is none of {place}.signed-by",
        key_id(text)
    )))
}

/// Returns the id of the signer's key as minisign prints key ids.
fn key_id(signature: &str) -> String {
    let decoded = signature.lines().nth(1).and_then(|line| STANDARD.decode(line).ok());
    let id = decoded.as_deref().and_then(|bytes| bytes.get(2..10));
    id.map_or_else(
        || "unknown".to_owned(),
        |id| id.iter().rev().map(|byte| format!("{byte:02X}")).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_testing::{Signer, sign};

    #[test]
    fn accepts_only_a_valid_signature_by_a_listed_key() {
        let (anna, bert) = (Signer::new(), Signer::new());
        let check = |bytes: &[u8], signature: Option<&str>, keys: &[&Signer]| {
            let keys: Vec<String> = keys.iter().map(|signer| signer.public.clone()).collect();
            verify(bytes, signature, &keys, "policy[0]").map_err(|problem| problem.to_string())
        };
        let signature = sign(&anna, b"code");
        assert_eq!(check(b"code", Some(&signature), &[&anna]), Ok(()));
        assert_eq!(check(b"code", Some(&signature), &[&bert, &anna]), Ok(()));
        assert_eq!(check(b"anything", None, &[]), Ok(()));
        let wrong = |outcome: Result<(), String>| outcome.expect_err("wrong");
        assert!(wrong(check(b"code", None, &[&anna])).contains("policy[0].signed-by asks for a signature"));
        assert!(wrong(check(b"edoc", Some(&signature), &[&anna])).contains("changed after signing"));
        let other = wrong(check(b"code", Some(&signature), &[&bert]));
        assert!(
            other.contains(&format!("signed with key {}, which is none", anna.id)),
            "{other}"
        );
        let comment = signature.replace("trusted comment: ", "trusted comment: not ");
        assert!(wrong(check(b"code", Some(&comment), &[&anna])).contains("changed after signing"));
        for garbage in ["", "a\nb\nc\nd", "untrusted comment: x\nRWQ\n", "\u{202e}\n\n\n\n"] {
            assert!(wrong(check(b"code", Some(garbage), &[&anna])).contains("not a minisign signature"));
        }
    }
}
