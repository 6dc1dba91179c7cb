//! Dry run: everything a load does except activating anything.

use serde::{Deserialize, Serialize};

use crate::manage::activation_history::{Cause, How};
use crate::manage::candidate::validate;
use crate::manage::changes::Changes;
use crate::manage::desired::{Desired, candidate};
use crate::manage::policy_set::{PolicySet, find};
use crate::manage::request::LoadRequest;
use host_config::Problem;
use host_engine::component::inspection::inspect_component;
use host_engine::generation::Generation;
use host_mail::Timestamp;

/// What would be loaded.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checked {
    /// Module of the chain it was checked for.
    pub module: String,
    /// As the policy calls itself.
    pub name: String,
    /// As the policy calls itself.
    pub version: String,
    /// Of the code: SHA-256, hexadecimal.
    pub digest: String,
    /// The version of the contract it was built for.
    pub contract: String,
    /// What it would be asked.
    pub stages: Vec<String>,
    /// Interfaces it uses; each is granted.
    pub uses: Vec<String>,
    /// The generation that runs and would be replaced.
    pub active: Option<u64>,
    /// What would be different.
    pub changes: Changes,
}

/// See [`crate::PolicyManager::check`]. Nothing is said in events either.
pub(crate) async fn dry_run(set: &PolicySet, request: LoadRequest) -> Result<Checked, Vec<Problem>> {
    let chain = set.chain.load_full();
    let place = find(&chain, request.module.as_deref())?;
    let desired = Desired::of_module(&chain, place, None).await?;
    let running = desired.running.clone();
    let cause = Cause::new(How::Load, request.by.clone(), "");
    let attempt = desired.attempt_to_load(request);
    let evaluator = set.evaluator.quiet();
    let (candidate, artifact) = candidate(set, &evaluator, &desired, &attempt, &cause).await?;
    let description = validate(&evaluator, &candidate, &desired.key).await?;
    let contract = match &artifact {
        Some(artifact) => inspect_component(&artifact.bytes)?.contract.join(", "),
        None => String::new(),
    };
    let shape = &candidate.code.shape;
    let stages = shape.roles.iter().map(|role| role.interface().to_owned()).collect();
    let uses = shape.uses.iter().cloned().collect();
    let generation = Generation::new(0, Timestamp::now(), candidate, description);
    Ok(Checked {
        module: desired.configured.name.clone(),
        name: generation.description.name.clone(),
        version: generation.description.version.clone(),
        digest: generation.candidate.code.digest.clone(),
        contract,
        stages,
        uses,
        active: running.as_ref().map(|running| running.number),
        changes: Changes::between(running.as_deref(), &generation),
    })
}
