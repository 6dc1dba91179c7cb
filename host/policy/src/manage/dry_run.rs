//! Dry run: every check of a load, without an activation and without events. Used by the `check` command, with or
//! without a running host.

use serde::{Deserialize, Serialize};

use crate::manage::activation_history::{Cause, How};
use crate::manage::candidate::validate;
use crate::manage::changes::Changes;
use crate::manage::desired::{Desired, candidate};
use crate::manage::policy_set::{PolicySet, find_module};
use crate::manage::request::LoadRequest;
use host_config::Problem;
use host_engine::component::inspection::inspect_component;
use host_engine::generation::Generation;
use host_mail::Timestamp;

/// The result of a dry run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checked {
    /// Module of the chain that was checked.
    pub module: String,
    /// Name from the policy's description.
    pub name: String,
    /// Version from the policy's description.
    pub version: String,
    /// SHA-256 of the code, hexadecimal.
    pub digest: String,
    /// Version of the contract that the component was built for.
    pub contract: String,
    /// Stages that the policy would be asked at.
    pub stages: Vec<String>,
    /// Interfaces that the component uses; all are granted.
    pub uses: Vec<String>,
    /// The running generation that would be replaced.
    pub active: Option<u64>,
    /// Differences from the running generation.
    pub changes: Changes,
}

/// Checks a candidate, as [`crate::PolicyManager::check`] describes. No event is emitted.
pub(crate) async fn dry_run(set: &PolicySet, request: LoadRequest) -> Result<Checked, Vec<Problem>> {
    let chain = set.chain.load_full();
    let position = find_module(&chain, request.module.as_deref())?;
    let desired = Desired::of_module(&chain, position, None).await?;
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
