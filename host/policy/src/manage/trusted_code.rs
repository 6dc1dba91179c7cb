//! Trust in code: a component is trusted if one of the module's signers signed it. Used by every operation that makes
//! code run, and by reloads for code that runs already.

use crate::manage::activation_store::Artifact;
use crate::manage::policy_set::PolicySet;
use host_config::Problem;
use host_engine::component::builtin;
use host_engine::component::signature::verify;
use host_engine::generation::{Code, digest};

/// Checks that a signer in `signers` signed the component; without signers everything is trusted. `key` is the module's
/// key in the configuration.
pub(crate) fn check_signature(artifact: &Artifact, signers: &[String], key: &str) -> Result<(), Vec<Problem>> {
    // The built-in policy is part of this program and as trusted as the program.
    if *artifact.bytes == *builtin::DEFAULT {
        return Ok(());
    }
    let signature = artifact.signature.as_deref();
    verify(&artifact.bytes, signature, signers, key).map_err(|problem| vec![problem])
}

/// Checks compiled code by the signature in the store, or by the signature `beside` the configured file if that file
/// has the same code.
pub(crate) async fn check_code(
    set: &PolicySet,
    code: &Code,
    signers: &[String],
    key: &str,
    beside: Option<&Artifact>,
) -> Result<(), Vec<Problem>> {
    if signers.is_empty() {
        return Ok(());
    }
    let stored = Artifact {
        bytes: code.bytes.clone(),
        signature: set.stored_signature(&code.digest).await,
    };
    let checked = check_signature(&stored, signers, key);
    match beside.filter(|beside| checked.is_err() && digest(&beside.bytes) == code.digest) {
        Some(beside) => check_signature(beside, signers, key).or(checked),
        None => checked,
    }
}
