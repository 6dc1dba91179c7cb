//! Candidates: reads components and proves that a candidate runs, before any generation is made. Used by activation,
//! dry runs, the shadow, replays and the harness.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tokio::io::AsyncReadExt as _;

use crate::evaluate::evaluator::{Evaluator, FaultSite};
use crate::manage::activation_store::Artifact;
use host_config::{PolicyModule, Problem};
use host_contract::Origin;
use host_engine::component::builtin;
use host_engine::component::signature::SIGNATURE_SIZE;
use host_engine::fault::{CallFailed, Fault};
use host_engine::generation::{Candidate, digest};
use host_engine::instance::Instance;
use host_engine::validate::Description;

/// Digest of the built-in policy, computed once.
static DEFAULT_DIGEST: LazyLock<String> = LazyLock::new(|| digest(builtin::DEFAULT));

/// The code that a module is configured with.
pub(crate) struct ConfiguredCode {
    pub(crate) artifact: Artifact,
    pub(crate) digest: String,
    /// `built-in` or the digest of the file. Changes only when the operator changes the code.
    pub(crate) identity: String,
    pub(crate) origin: String,
}

/// Reads the configured code.
pub(crate) async fn configured_code(module: &PolicyModule) -> Result<ConfiguredCode, Vec<Problem>> {
    let Some(file) = &module.file else {
        return Ok(ConfiguredCode {
            artifact: Artifact::unsigned(builtin::DEFAULT),
            digest: DEFAULT_DIGEST.clone(),
            identity: "built-in".to_owned(),
            origin: "built-in".to_owned(),
        });
    };
    let artifact = read_artifact(file, module.limits.component_size).await?;
    let digest = digest(&artifact.bytes);
    Ok(ConfiguredCode {
        artifact,
        identity: digest.clone(),
        digest,
        origin: file.display().to_string(),
    })
}

/// Reads a component of at most `limit` bytes, and the signature beside the file if there is any.
pub(crate) async fn read_artifact(file: &Path, limit: u64) -> Result<Artifact, Vec<Problem>> {
    let bytes = read_bounded(file, limit)
        .await
        .map_err(|text| vec![Problem::new("file", text)])?;
    check_size(bytes.len(), limit).map_err(|text| vec![Problem::new("file", format!("{}: {text}", file.display()))])?;
    let beside = signature_path(file);
    let signature = match tokio::fs::try_exists(&beside).await {
        Ok(false) => None,
        Ok(true) | Err(_) => Some(
            read_bounded(&beside, SIGNATURE_SIZE)
                .await
                .map_err(|text| vec![Problem::new("signature", text)])?,
        ),
    };
    Ok(Artifact {
        bytes: bytes.into(),
        signature: signature.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    })
}

/// Returns `FILE.minisig`.
fn signature_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// Reads at most `limit` bytes and a further byte, by which the caller detects a larger file.
pub(crate) async fn read_bounded(file: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let read = async {
        let mut bytes = Vec::new();
        let file = tokio::fs::File::open(file).await?;
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>(bytes)
    };
    read.await.map_err(|error| format!("{}: {error}", file.display()))
}

/// Checks a component's size against `limits.component-size`.
pub(crate) fn check_size(size: usize, limit: u64) -> Result<(), String> {
    if u64::try_from(size).unwrap_or(u64::MAX) > limit {
        return Err(format!("larger than limits.component-size, {limit} bytes"));
    }
    Ok(())
}

/// Proves that a candidate runs: imports are granted, instantiation stays within the limits, the functions have the
/// contract's types, `describe` returns and `configure` accepts the settings. `key` is the module's key in the
/// configuration, for problems.
pub(crate) async fn validate(
    evaluator: &Evaluator,
    candidate: &Candidate,
    key: &str,
) -> Result<Description, Vec<Problem>> {
    let problems = candidate.code.shape.beyond(&candidate.grants, &format!("{key}.grants"));
    if !problems.is_empty() {
        return Err(problems);
    }
    let check = CandidateCheck { evaluator, candidate };
    let context = evaluator.context(Origin::default());
    let made = Instance::new(&evaluator.runtime, candidate, context).await;
    let mut instance = made.map_err(|failed| check.failed(&failed, "instantiate"))?;
    instance.check_types().map_err(|failed| contract_mismatch(&failed))?;
    instance.refuel(evaluator.runtime.ration("describe"));
    let described = instance.describe().await;
    let description = described.map_err(|failed| check.failed(&failed, "describe"))?;
    let settings = host_engine::generation::settings_text(&candidate.settings);
    instance.refuel(evaluator.runtime.ration("configure"));
    let configured = instance.configure(&settings).await;
    match configured.map_err(|failed| check.failed(&failed, "configure"))? {
        Ok(()) => Ok(description),
        Err(complaints) if complaints.is_empty() => Err(vec![Problem::new(
            "settings",
            "refused by the policy, which does not say why",
        )]),
        Err(complaints) => {
            let problem = |(key, text): (String, String)| Problem::new(settings_key(&key), text);
            Err(complaints.into_iter().map(problem).collect())
        }
    }
}

fn settings_key(key: &str) -> String {
    match key {
        "" => "settings".to_owned(),
        key => format!("settings.{key}"),
    }
}

/// The check of a candidate.
struct CandidateCheck<'a> {
    evaluator: &'a Evaluator,
    candidate: &'a Candidate,
}

impl CandidateCheck<'_> {
    /// Emits the fault of a candidate, and returns the fault as a problem.
    fn failed(&self, failed: &CallFailed, stage: &str) -> Vec<Problem> {
        let CallFailed::Fault(fault) = failed else {
            return vec![Problem::new(
                "",
                "no room to try it: the pool of instances is exhausted",
            )];
        };
        let at = FaultSite {
            candidate: self.candidate,
            generation: 0,
            stage,
            origin: Origin::default(),
            instead: "it was not activated",
        };
        self.evaluator.report(fault, at);
        vec![problem_of(fault, stage)]
    }
}

/// Returns a fault as a problem for the author: class, location and stderr.
pub(crate) fn problem_of(fault: &Fault, stage: &str) -> Problem {
    let location = match (&fault.place.function, &fault.place.location) {
        (Some(function), Some(location)) => format!(" in {function} at {location}"),
        (Some(function), None) => format!(" in {function}"),
        _ => String::new(),
    };
    let stderr = match fault.stderr.trim() {
        "" => String::new(),
        stderr => format!("; stderr: {stderr}"),
    };
    let text = format!(
        "faults in {stage}: {}: {}{location}{stderr}",
        fault.class.name(),
        fault.code
    );
    Problem::new("file", text)
}

fn contract_mismatch(failed: &CallFailed) -> Vec<Problem> {
    let why = match failed {
        CallFailed::Fault(fault) => fault.code.as_str(),
        CallFailed::Crowded => "no room to try it",
    };
    vec![Problem::new("file", format!("does not fit the contract: {why}"))]
}
