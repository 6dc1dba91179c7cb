//! Desired state of a module: chooses the code and settings to run, and builds the generation.
//!
//! The last deliberate act wins, separately for code and for settings: code or settings loaded by an operator stay
//! active over restarts until the configuration changes. Grants and limits are always the configuration's of today,
//! also for a rollback. Used by activation, rollout, reconfiguration, dry runs and the shadow.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::evaluate::chain::Chain;
use crate::evaluate::evaluator::Evaluator;
use crate::manage::activation_history::{Cause, History};
use crate::manage::activation_store::{Activated, Artifact, Configured, Ledger};
use crate::manage::candidate::{ConfiguredCode, check_size, configured_code, validate};
use crate::manage::policy_set::PolicySet;
use crate::manage::replaced_load::ReplacedLoad;
use crate::manage::request::LoadRequest;
use crate::manage::trusted_code::check_signature;
use host_config::{PolicyModule, Problem};
use host_engine::core_dump::CoreDumps;
use host_engine::generation::{Candidate, Code, Generation, digest};
use host_mail::Timestamp;

/// The choices of code and settings for a module.
pub(crate) struct Desired<'a> {
    /// The module's key in the configuration, for problems.
    pub(crate) key: String,
    pub(crate) configured: &'a PolicyModule,
    pub(crate) code: Result<ConfiguredCode, Vec<Problem>>,
    /// The last activation of the module.
    pub(crate) last_activation: Option<&'a Activated>,
    pub(crate) running: Option<Arc<Generation>>,
    /// True at a reload: code that runs already goes on without an accepted signature. `signers` reports or replaces it.
    pub(crate) keeps_running: bool,
}

/// A choice of code and settings.
#[derive(Clone)]
pub(crate) struct Attempt {
    pub(crate) code: Source,
    pub(crate) settings: Map<String, Value>,
    pub(crate) origin: String,
    /// The generation that a rollback restores.
    pub(crate) back_to: Option<u64>,
    /// Folder of core dumps, overriding the configured folder.
    pub(crate) core_dumps: Option<PathBuf>,
}

/// The source of an attempt's code.
#[derive(Clone)]
pub(crate) enum Source {
    /// The configured code.
    Configured,
    /// Code from the store, by digest.
    Stored(String),
    /// Code from the request.
    Given(Artifact),
    /// The code of the running generation.
    Running(Arc<Code>),
}

/// A generation that was built and validated, not yet active.
pub(crate) struct BuiltGeneration {
    pub(crate) generation: Arc<Generation>,
    pub(crate) activated: Activated,
    /// Code that may be missing in the store.
    pub(crate) artifact: Option<Artifact>,
}

impl BuiltGeneration {
    /// Returns the code to store, with the digest.
    pub(crate) fn code_to_store(&self) -> Option<(String, Artifact)> {
        let digest = self.generation.candidate.code.digest.clone();
        self.artifact.clone().map(|artifact| (digest, artifact))
    }
}

impl<'a> Desired<'a> {
    /// Reads the configured code of the module at `position` of the chain.
    pub(crate) async fn of_module(
        chain: &'a Chain,
        position: usize,
        last_activation: Option<&'a Activated>,
    ) -> Result<Self, Vec<Problem>> {
        let Some(module) = chain.modules.get(position) else {
            return Err(vec![Problem::new("module", "there is no such module")]);
        };
        Ok(Self {
            key: format!("policy[{position}]"),
            configured: &module.configured,
            code: configured_code(&module.configured).await,
            last_activation,
            running: module.running.as_ref().ok().cloned(),
            keeps_running: false,
        })
    }
}

impl Desired<'_> {
    /// Returns the attempt that the last deliberate acts call for.
    pub(crate) fn preferred_attempt(&self) -> Attempt {
        let loaded_code = self.last_activation.filter(|was| {
            was.code_loaded
                && self
                    .code
                    .as_ref()
                    .map_or(true, |code| code.identity == was.configured.code)
        });
        let loaded_settings = self
            .last_activation
            .filter(|was| was.settings_loaded && was.configured.settings == self.configured.settings);
        Attempt {
            code: loaded_code.map_or(Source::Configured, |was| Source::Stored(was.code.clone())),
            settings: loaded_settings.map_or_else(|| self.configured.settings.clone(), |was| was.settings.clone()),
            origin: loaded_code.map_or_else(|| self.configured_origin(), |was| was.origin.clone()),
            back_to: None,
            core_dumps: None,
        }
    }

    /// Returns the attempts of a start, in order and without duplicates: the preferred attempt, the code of the last
    /// activation with the settings of today and with its own, the configuration.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        let preferred = self.preferred_attempt();
        let last = self.last_activation.into_iter().flat_map(|was| {
            let settings = [&preferred.settings, &was.settings];
            settings.map(|settings| stored(&was.code, settings, &was.origin))
        });
        let plain = Attempt {
            code: Source::Configured,
            settings: self.configured.settings.clone(),
            origin: self.configured_origin(),
            back_to: None,
            core_dumps: None,
        };
        let mut attempts: Vec<Attempt> = Vec::new();
        let first = std::iter::once(preferred.clone());
        for attempt in first.chain(last).chain([plain]) {
            let same =
                |other: &Attempt| self.digest(other) == self.digest(&attempt) && other.settings == attempt.settings;
            if !attempts.iter().any(same) {
                attempts.push(attempt);
            }
        }
        attempts
    }

    /// Returns the attempts with earlier activations, newest first: each code with the settings of today and with its
    /// own.
    pub(crate) fn earlier_attempts(&self, history: &History) -> Vec<Attempt> {
        let preferred = self.preferred_attempt();
        let tried = self.attempts();
        let mut attempts: Vec<Attempt> = Vec::new();
        for past in history.newest_first() {
            for settings in [&preferred.settings, &past.settings] {
                let attempt = stored(&past.digest, settings, &past.origin);
                let same = |other: &Attempt| self.digest(other) == past.digest && other.settings == *settings;
                if !tried.iter().chain(&attempts).any(same) {
                    attempts.push(attempt);
                }
            }
        }
        attempts
    }

    /// Returns the attempt of a load request. Code or settings that the request leaves out stay as in the running
    /// generation.
    pub(crate) fn attempt_to_load(&self, request: LoadRequest) -> Attempt {
        let running = self.running.as_ref().map(|generation| &generation.candidate);
        let kept_settings = || running.map_or_else(|| self.configured.settings.clone(), |c| c.settings.clone());
        let (code, origin) = match (request.code, running) {
            (Some(bytes), _) => (Source::Given(artifact(bytes, request.signature)), request.origin),
            (None, Some(running)) => (Source::Running(Arc::clone(&running.code)), running.origin.clone()),
            (None, None) => (Source::Configured, self.configured_origin()),
        };
        Attempt {
            code,
            settings: request.settings.unwrap_or_else(kept_settings),
            origin,
            back_to: None,
            core_dumps: request.core_dumps,
        }
    }

    fn core_dumps(&self, attempt: &Attempt) -> Option<PathBuf> {
        attempt
            .core_dumps
            .clone()
            .or_else(|| self.configured.core_dumps.clone())
    }

    /// Returns the digest of an attempt's code; empty if the code is missing.
    pub(crate) fn digest(&self, attempt: &Attempt) -> String {
        match &attempt.code {
            Source::Configured => self.code.as_ref().map_or(String::new(), |code| code.digest.clone()),
            Source::Stored(digest) => digest.clone(),
            Source::Given(artifact) => digest(&artifact.bytes),
            Source::Running(code) => code.digest.clone(),
        }
    }

    fn configured_origin(&self) -> String {
        match (&self.code, &self.configured.file) {
            (Ok(code), _) => code.origin.clone(),
            (Err(_), Some(file)) => file.display().to_string(),
            (Err(_), None) => String::new(),
        }
    }

    /// Returns what an operator had loaded and `generation` replaces.
    pub(crate) fn replaced_load(&self, generation: &Generation) -> Option<ReplacedLoad> {
        ReplacedLoad::between(self.last_activation?, generation)
    }

    /// Returns the ledger's entry of an activation.
    fn activated(&self, generation: &Generation, cause: &Cause) -> Activated {
        let candidate = &generation.candidate;
        // An unchanged generation keeps the cause of the first activation.
        let (how, why) = match self.last_activation.filter(|was| was.generation == generation.number) {
            Some(was) => (was.how, was.why.clone()),
            None => (cause.how, cause.why.clone()),
        };
        let (configured_code, configured_digest) = match (&self.code, self.last_activation) {
            (Ok(code), _) => (code.identity.clone(), code.digest.clone()),
            (Err(_), Some(was)) => (was.configured.code.clone(), String::new()),
            (Err(_), None) => (String::new(), String::new()),
        };
        Activated {
            generation: generation.number,
            identity: generation.identity.clone(),
            code: candidate.code.digest.clone(),
            settings: candidate.settings.clone(),
            code_loaded: candidate.code.digest != configured_digest,
            settings_loaded: candidate.settings != self.configured.settings,
            configured: Configured {
                code: configured_code,
                settings: self.configured.settings.clone(),
            },
            origin: candidate.origin.clone(),
            by: candidate.by.clone(),
            since: generation.since,
            version: generation.description.version.clone(),
            how,
            why,
        }
    }
}

/// Returns an attempt with code from the store.
fn stored(code: &str, settings: &Map<String, Value>, origin: &str) -> Attempt {
    Attempt {
        code: Source::Stored(code.to_owned()),
        settings: settings.clone(),
        origin: origin.to_owned(),
        back_to: None,
        core_dumps: None,
    }
}

fn artifact(bytes: Vec<u8>, signature: Option<String>) -> Artifact {
    Artifact {
        signature,
        ..Artifact::unsigned(bytes)
    }
}

/// Builds the generation of an attempt. The same code, settings, grants and limits are the same generation, also after
/// a restart.
pub(crate) async fn build(
    set: &PolicySet,
    desired: &Desired<'_>,
    attempt: &Attempt,
    cause: &Cause,
    ledger: &mut Ledger,
) -> Result<BuiltGeneration, Vec<Problem>> {
    let (mut candidate, artifact) = candidate(set, &set.evaluator, desired, attempt, cause).await?;
    let identity = candidate.identity();
    if let Some(running) = desired.running.as_ref().filter(|running| running.identity == identity) {
        running.candidate.core_dumps.set(desired.core_dumps(attempt));
        return Ok(BuiltGeneration {
            generation: Arc::clone(running),
            activated: desired.activated(running, cause),
            artifact,
        });
    }
    let description = validate(&set.evaluator, &candidate, &desired.key).await?;
    let (number, since) = match desired.last_activation.filter(|was| was.identity == identity) {
        Some(was) if desired.running.is_none() => {
            candidate.by.clone_from(&was.by);
            candidate.origin.clone_from(&was.origin);
            (was.generation, was.since)
        }
        _ => (ledger.next_number(), Timestamp::now()),
    };
    let generation = Generation::new(number, since, candidate, description);
    Ok(BuiltGeneration {
        activated: desired.activated(&generation, cause),
        generation: Arc::new(generation),
        artifact,
    })
}

/// Compiles an attempt into a candidate, which is not yet validated.
pub(crate) async fn candidate(
    set: &PolicySet,
    evaluator: &Evaluator,
    desired: &Desired<'_>,
    attempt: &Attempt,
    cause: &Cause,
) -> Result<(Candidate, Option<Artifact>), Vec<Problem>> {
    if let Source::Given(artifact) = &attempt.code {
        check_size(artifact.bytes.len(), desired.configured.limits.component_size)
            .map_err(|text| vec![Problem::new("file", text)])?;
    }
    let (code, artifact) = code(set, evaluator, desired, attempt).await?;
    let candidate = Candidate {
        module: desired.configured.name.as_str().into(),
        code,
        settings: attempt.settings.clone(),
        grants: desired.configured.grants.clone(),
        limits: desired.configured.limits.clone(),
        origin: attempt.origin.clone(),
        by: cause.by.clone(),
        core_dumps: Arc::new(CoreDumps::new(desired.core_dumps(attempt))),
    };
    Ok((candidate, artifact))
}

/// Returns the code of an attempt. Code that runs already is not compiled again, but the signature is checked again
/// because the signers may have changed.
async fn code(
    set: &PolicySet,
    evaluator: &Evaluator,
    desired: &Desired<'_>,
    attempt: &Attempt,
) -> Result<(Arc<Code>, Option<Artifact>), Vec<Problem>> {
    let signers = &desired.configured.signed_by;
    let running = running_code(desired, &desired.digest(attempt));
    let artifact = match (&attempt.code, &running) {
        (Source::Running(code), _) | (Source::Stored(_), Some(code)) if signers.is_empty() => {
            return Ok((Arc::clone(code), None));
        }
        (Source::Running(code), _) | (Source::Stored(_), Some(code)) => Artifact {
            bytes: Arc::clone(&code.bytes),
            signature: set.stored_signature(&code.digest).await,
        },
        (Source::Stored(digest), None) => set.stored_code(digest).await?,
        (Source::Given(artifact), _) => artifact.clone(),
        (Source::Configured, _) => desired.code.as_ref().map_err(Clone::clone)?.artifact.clone(),
    };
    if !(desired.keeps_running && running.is_some()) {
        check_signature(&artifact, signers, &desired.key)?;
    }
    let code = match running {
        Some(code) => code,
        None => Arc::new(Code::new(&evaluator.runtime, Arc::clone(&artifact.bytes)).await?),
    };
    Ok((code, Some(artifact)))
}

fn running_code(desired: &Desired<'_>, digest: &str) -> Option<Arc<Code>> {
    let code = &desired.running.as_ref()?.candidate.code;
    (code.digest == digest).then(|| Arc::clone(code))
}
