//! Which code and settings a module is to run with, and making a generation of them.
//!
//! The last deliberate act wins, separately for code and for settings: what an operator loaded
//! stays in force over restarts, until the configuration says something else than it said at the
//! time of the load. Grants and limits are always the configuration's.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::evaluate::chain::Chain;
use crate::evaluate::evaluator::Evaluator;
use crate::manage::activation_history::Cause;
use crate::manage::activation_store::{Activated, Artifact, Configured, Ledger};
use crate::manage::candidate::{ConfiguredCode, configured_code, fits, validate};
use crate::manage::policy_set::PolicySet;
use crate::manage::request::LoadRequest;
use host_config::{PolicyModule, Problem};
use host_engine::component::builtin;
use host_engine::component::signature::verify;
use host_engine::core_dump::CoreDumps;
use host_engine::generation::{Candidate, Code, Generation, digest};
use host_mail::Timestamp;

/// What there is to choose from for one module.
pub(crate) struct Desired<'a> {
    /// Its place in the configuration.
    pub(crate) key: String,
    pub(crate) configured: &'a PolicyModule,
    pub(crate) code: Result<ConfiguredCode, Vec<Problem>>,
    /// Its last activation.
    pub(crate) was: Option<&'a Activated>,
    pub(crate) running: Option<Arc<Generation>>,
}

/// A choice.
#[derive(Clone)]
pub(crate) struct Attempt {
    pub(crate) code: Source,
    pub(crate) settings: Map<String, Value>,
    pub(crate) origin: String,
    /// The generation it goes back to, if it does.
    pub(crate) back_to: Option<u64>,
    /// Where core dumps go instead of where they are configured to go.
    pub(crate) core_dumps: Option<PathBuf>,
}

/// Where code is taken from.
#[derive(Clone)]
pub(crate) enum Source {
    /// As configured.
    Configured,
    /// From the store, under its digest.
    Stored(String),
    /// With the request.
    Given(Artifact),
    /// As it runs.
    Running(Arc<Code>),
}

/// A choice that works.
pub(crate) struct Ready {
    pub(crate) generation: Arc<Generation>,
    pub(crate) activated: Activated,
    /// Code that may not be in the store yet.
    pub(crate) artifact: Option<Artifact>,
}

impl Ready {
    /// What is to be in the store, under its digest.
    pub(crate) fn to_keep(&self) -> Option<(String, Artifact)> {
        let digest = self.generation.candidate.code.digest.clone();
        self.artifact.clone().map(|artifact| (digest, artifact))
    }
}

impl<'a> Desired<'a> {
    /// Reads the configured code of the module at `place` of the chain.
    pub(crate) async fn of_module(
        chain: &'a Chain,
        place: usize,
        was: Option<&'a Activated>,
    ) -> Result<Self, Vec<Problem>> {
        let Some(module) = chain.modules.get(place) else {
            return Err(vec![Problem::new("module", "there is no such module")]);
        };
        Ok(Self {
            key: format!("policy[{place}]"),
            configured: &module.configured,
            code: configured_code(&module.configured).await,
            was,
            running: module.running.as_ref().ok().cloned(),
        })
    }
}

impl Desired<'_> {
    /// What should run.
    pub(crate) fn wanted(&self) -> Attempt {
        let loaded_code = self.was.filter(|was| {
            was.code_loaded
                && self
                    .code
                    .as_ref()
                    .map_or(true, |code| code.identity == was.configured.code)
        });
        let loaded_settings = self
            .was
            .filter(|was| was.settings_loaded && was.configured.settings == self.configured.settings);
        Attempt {
            code: loaded_code.map_or(Source::Configured, |was| Source::Stored(was.code.clone())),
            settings: loaded_settings.map_or_else(|| self.configured.settings.clone(), |was| was.settings.clone()),
            origin: loaded_code.map_or_else(|| self.configured_origin(), |was| was.origin.clone()),
            back_to: None,
            core_dumps: None,
        }
    }

    /// What should run, then what ran last, then what is configured: each once.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        let last = self.was.map(|was| Attempt {
            code: Source::Stored(was.code.clone()),
            settings: was.settings.clone(),
            origin: was.origin.clone(),
            back_to: None,
            core_dumps: None,
        });
        let plain = Attempt {
            code: Source::Configured,
            settings: self.configured.settings.clone(),
            origin: self.configured_origin(),
            back_to: None,
            core_dumps: None,
        };
        let mut attempts: Vec<Attempt> = Vec::new();
        for attempt in [Some(self.wanted()), last, Some(plain)].into_iter().flatten() {
            let same =
                |other: &Attempt| self.digest(other) == self.digest(&attempt) && other.settings == attempt.settings;
            if !attempts.iter().any(same) {
                attempts.push(attempt);
            }
        }
        attempts
    }

    /// What an operator asks for; what is not said stays as it runs.
    pub(crate) fn attempt_to_load(&self, request: LoadRequest) -> Attempt {
        let running = self.running.as_ref().map(|generation| &generation.candidate);
        let kept_settings = || running.map_or_else(|| self.configured.settings.clone(), |c| c.settings.clone());
        let (code, origin) = match (request.code, running) {
            (Some(bytes), _) => (Source::Given(given(bytes, request.signature)), request.origin),
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

    /// Digest of an attempt's code; empty if there is no such code.
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

    /// How an activation is remembered.
    fn activated(&self, generation: &Generation, cause: &Cause) -> Activated {
        let candidate = &generation.candidate;
        // The same generation has been activated once, whatever brings it up again.
        let (how, why) = match self.was.filter(|was| was.generation == generation.number) {
            Some(was) => (was.how, was.why.clone()),
            None => (cause.how, cause.why.clone()),
        };
        let (configured_code, configured_digest) = match (&self.code, self.was) {
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

fn given(bytes: Vec<u8>, signature: Option<String>) -> Artifact {
    Artifact {
        signature,
        ..Artifact::unsigned(bytes)
    }
}

/// Makes a generation of an attempt. The same code, settings, grants and limits are the same
/// generation, whether it still runs or ran before a restart.
pub(crate) async fn build(
    set: &PolicySet,
    desired: &Desired<'_>,
    attempt: &Attempt,
    cause: &Cause,
    ledger: &mut Ledger,
) -> Result<Ready, Vec<Problem>> {
    let (mut candidate, artifact) = candidate(set, &set.evaluator, desired, attempt, cause).await?;
    let identity = candidate.identity();
    if let Some(running) = desired.running.as_ref().filter(|running| running.identity == identity) {
        running.candidate.core_dumps.set(desired.core_dumps(attempt));
        return Ok(Ready {
            generation: Arc::clone(running),
            activated: desired.activated(running, cause),
            artifact,
        });
    }
    let description = validate(&set.evaluator, &candidate, &desired.key).await?;
    let (number, since) = match desired.was.filter(|was| was.identity == identity) {
        Some(was) if desired.running.is_none() => {
            candidate.by.clone_from(&was.by);
            candidate.origin.clone_from(&was.origin);
            (was.generation, was.since)
        }
        _ => (ledger.next(), Timestamp::now()),
    };
    let generation = Generation::new(number, since, candidate, description);
    Ok(Ready {
        activated: desired.activated(&generation, cause),
        generation: Arc::new(generation),
        artifact,
    })
}

/// What an attempt amounts to, compiled; not yet known to run.
pub(crate) async fn candidate(
    set: &PolicySet,
    evaluator: &Evaluator,
    desired: &Desired<'_>,
    attempt: &Attempt,
    cause: &Cause,
) -> Result<(Candidate, Option<Artifact>), Vec<Problem>> {
    if let Source::Given(artifact) = &attempt.code {
        fits(artifact.bytes.len(), desired.configured.limits.component_size)
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

/// Code that already runs is not compiled again, but its signature is looked at again: whose
/// signature is asked for may have changed.
async fn code(
    set: &PolicySet,
    evaluator: &Evaluator,
    desired: &Desired<'_>,
    attempt: &Attempt,
) -> Result<(Arc<Code>, Option<Artifact>), Vec<Problem>> {
    let signers = &desired.configured.signed_by;
    let artifact = match &attempt.code {
        Source::Running(code) if signers.is_empty() => return Ok((Arc::clone(code), None)),
        Source::Running(code) => set.kept(&code.digest).await?,
        Source::Given(artifact) => artifact.clone(),
        Source::Configured => desired.code.as_ref().map_err(Clone::clone)?.artifact.clone(),
        Source::Stored(digest) => match running_code(desired, digest) {
            Some(code) if signers.is_empty() => return Ok((code, None)),
            _ => set.kept(digest).await?,
        },
    };
    trusted(&artifact, signers, &desired.key)?;
    let code = match running_code(desired, &digest(&artifact.bytes)) {
        Some(code) => code,
        None => Arc::new(Code::new(&evaluator.runtime, Arc::clone(&artifact.bytes)).await?),
    };
    Ok((code, Some(artifact)))
}

/// Whether one of `signers` signed it, if there are any.
pub(crate) fn trusted(artifact: &Artifact, signers: &[String], place: &str) -> Result<(), Vec<Problem>> {
    // The built-in policy is part of this program: who trusts one trusts the other.
    if *artifact.bytes == *builtin::DEFAULT {
        return Ok(());
    }
    let signature = artifact.signature.as_deref();
    verify(&artifact.bytes, signature, signers, place).map_err(|problem| vec![problem])
}

fn running_code(desired: &Desired<'_>, digest: &str) -> Option<Arc<Code>> {
    let code = &desired.running.as_ref()?.candidate.code;
    (code.digest == digest).then(|| Arc::clone(code))
}
