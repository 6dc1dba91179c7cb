//! From a request to a candidate that is known to run: read, check, compile, try.

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

/// Of the built-in policy, which every change of a module that has it compares with.
static DEFAULT_DIGEST: LazyLock<String> = LazyLock::new(|| digest(builtin::DEFAULT));

/// Code as a module is configured with.
pub(crate) struct ConfiguredCode {
    pub(crate) artifact: Artifact,
    pub(crate) digest: String,
    /// `built-in` or the digest of the file: changes only when the operator changes something.
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

/// A component's file, and the signature beside it if there is one.
pub(crate) async fn read_artifact(file: &Path, limit: u64) -> Result<Artifact, Vec<Problem>> {
    let bytes = read_bounded(file, limit)
        .await
        .map_err(|text| vec![Problem::new("file", text)])?;
    fits(bytes.len(), limit).map_err(|text| vec![Problem::new("file", format!("{}: {text}", file.display()))])?;
    let beside = signature_beside(file);
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

/// `FILE.minisig`.
fn signature_beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// At most one byte more than `limit`.
pub(crate) async fn read_bounded(file: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let read = async {
        let mut bytes = Vec::new();
        let file = tokio::fs::File::open(file).await?;
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>(bytes)
    };
    read.await.map_err(|error| format!("{}: {error}", file.display()))
}

/// The size cap.
pub(crate) fn fits(size: usize, limit: u64) -> Result<(), String> {
    if u64::try_from(size).unwrap_or(u64::MAX) > limit {
        return Err(format!("larger than limits.component-size, {limit} bytes"));
    }
    Ok(())
}

/// Proves that a candidate runs: its imports are granted, it instantiates within its limits, its
/// functions have the contract's types, it says who it is and takes its settings. `key` is the
/// module's place in the configuration.
pub(crate) async fn validate(
    evaluator: &Evaluator,
    candidate: &Candidate,
    key: &str,
) -> Result<Description, Vec<Problem>> {
    let problems = candidate.code.shape.beyond(&candidate.grants, &format!("{key}.grants"));
    if !problems.is_empty() {
        return Err(problems);
    }
    let trial = DryRun { evaluator, candidate };
    let context = evaluator.context(Origin::default());
    let made = Instance::new(&evaluator.runtime, candidate, context).await;
    let mut instance = made.map_err(|failed| trial.failed(&failed, "instantiate"))?;
    instance.check_types().map_err(|failed| misfit(&failed))?;
    instance.refuel(evaluator.runtime.ration("describe"));
    let described = instance.describe().await;
    let description = described.map_err(|failed| trial.failed(&failed, "describe"))?;
    let settings = host_engine::generation::settings_text(&candidate.settings);
    instance.refuel(evaluator.runtime.ration("configure"));
    let configured = instance.configure(&settings).await;
    match configured.map_err(|failed| trial.failed(&failed, "configure"))? {
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

struct DryRun<'a> {
    evaluator: &'a Evaluator,
    candidate: &'a Candidate,
}

impl DryRun<'_> {
    /// A fault of a candidate is reported like any other, and is a problem beside.
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

/// A fault as the author reads it: where it was, and what the policy wrote about it.
pub(crate) fn problem_of(fault: &Fault, stage: &str) -> Problem {
    let place = match (&fault.place.function, &fault.place.location) {
        (Some(function), Some(location)) => format!(" in {function} at {location}"),
        (Some(function), None) => format!(" in {function}"),
        _ => String::new(),
    };
    let said = match fault.stderr.trim() {
        "" => String::new(),
        stderr => format!("; stderr: {stderr}"),
    };
    let text = format!("faults in {stage}: {}: {}{place}{said}", fault.class.name(), fault.code);
    Problem::new("file", text)
}

fn misfit(failed: &CallFailed) -> Vec<Problem> {
    let why = match failed {
        CallFailed::Fault(fault) => fault.code.as_str(),
        CallFailed::Crowded => "no room to try it",
    };
    vec![Problem::new("file", format!("does not fit the contract: {why}"))]
}
