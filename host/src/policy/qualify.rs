//! From a request to a candidate that is known to run: read, check, compile, try.

use std::path::Path;
use std::sync::Arc;

use tokio::io::AsyncReadExt as _;

use super::builtin;
use super::check::Description;
use super::decision::Origin;
use super::fault::Failed;
use super::generation::{Candidate, digest};
use super::instance::Instance;
use super::work::{At, Core};
use crate::config::{PolicyModule, Problem};

/// Code as a module is configured with.
pub(super) struct ConfiguredCode {
    pub(super) bytes: Arc<[u8]>,
    pub(super) digest: String,
    /// `built-in` or the digest of the file: changes only when the operator changes something.
    pub(super) identity: String,
    pub(super) origin: String,
}

/// Reads the configured code.
pub(super) async fn configured_code(module: &PolicyModule) -> Result<ConfiguredCode, Vec<Problem>> {
    let Some(file) = &module.file else {
        return Ok(ConfiguredCode {
            bytes: Arc::from(builtin::DEFAULT),
            digest: digest(builtin::DEFAULT),
            identity: "built-in".to_owned(),
            origin: "built-in".to_owned(),
        });
    };
    let bytes = read_bounded(file, module.limits.component_size)
        .await
        .map_err(|text| vec![Problem::new("file", text)])?;
    let digest = digest(&bytes);
    Ok(ConfiguredCode {
        bytes: bytes.into(),
        identity: digest.clone(),
        digest,
        origin: file.display().to_string(),
    })
}

async fn read_bounded(file: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let read = async {
        let mut bytes = Vec::new();
        let file = tokio::fs::File::open(file).await?;
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes = read.await.map_err(|error| format!("{}: {error}", file.display()))?;
    fits(bytes.len(), limit).map_err(|text| format!("{}: {text}", file.display()))?;
    Ok(bytes)
}

/// The size cap.
pub(super) fn fits(size: usize, limit: u64) -> Result<(), String> {
    if u64::try_from(size).unwrap_or(u64::MAX) > limit {
        return Err(format!("larger than limits.component-size, {limit} bytes"));
    }
    Ok(())
}

/// Proves that a candidate runs: its imports are granted, it instantiates within its limits, its
/// functions have the contract's types, it says who it is and takes its settings. `key` is the
/// module's place in the configuration.
pub(super) async fn qualify(core: &Core, candidate: &Candidate, key: &str) -> Result<Description, Vec<Problem>> {
    let problems = candidate.code.shape.beyond(&candidate.grants, &format!("{key}.grants"));
    if !problems.is_empty() {
        return Err(problems);
    }
    let trial = Trial { core, candidate };
    let around = core.surroundings(Origin::default());
    let made = Instance::new(&core.runtime, candidate, around).await;
    let mut instance = made.map_err(|failed| trial.failed(&failed, "instantiate"))?;
    instance.check_types().map_err(|failed| misfit(&failed))?;
    instance.refuel(core.runtime.ration("describe"));
    let described = instance.describe().await;
    let description = described.map_err(|failed| trial.failed(&failed, "describe"))?;
    let settings = super::generation::settings_text(&candidate.settings);
    instance.refuel(core.runtime.ration("configure"));
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

struct Trial<'a> {
    core: &'a Core,
    candidate: &'a Candidate,
}

impl Trial<'_> {
    /// A fault of a candidate is reported like any other, and is a problem beside.
    fn failed(&self, failed: &Failed, stage: &str) -> Vec<Problem> {
        let Failed::Fault(fault) = failed else {
            return vec![Problem::new(
                "",
                "no room to try it: the pool of instances is exhausted",
            )];
        };
        let at = At {
            candidate: self.candidate,
            generation: 0,
            stage,
            origin: Origin::default(),
            instead: "it was not activated",
        };
        self.core.report(fault, at);
        let place = match (&fault.place.function, &fault.place.location) {
            (Some(function), Some(location)) => format!(" in {function} at {location}"),
            (Some(function), None) => format!(" in {function}"),
            _ => String::new(),
        };
        let text = format!("faults in {stage}: {}: {}{place}", fault.class.name(), fault.code);
        vec![Problem::new("file", text)]
    }
}

fn misfit(failed: &Failed) -> Vec<Problem> {
    let why = match failed {
        Failed::Fault(fault) => fault.code.as_str(),
        Failed::Crowded => "no room to try it",
    };
    vec![Problem::new("file", format!("does not fit the contract: {why}"))]
}
