//! Which code and settings a module is to run with, and making a generation of them.
//!
//! The last deliberate act wins, separately for code and for settings: what an operator loaded
//! stays in force over restarts, until the configuration says something else than it said at the
//! time of the load. Grants and limits are always the configuration's.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::LoadRequest;
use super::activation::{Activated, Configured, Ledger};
use super::generation::{Candidate, Code, Generation, digest};
use super::operate::Inner;
use super::qualify::{ConfiguredCode, qualify};
use crate::config::{PolicyModule, Problem};
use crate::mail::Timestamp;

/// What there is to choose from for one module.
pub(super) struct Wish<'a> {
    /// Its place in the configuration.
    pub(super) key: String,
    pub(super) configured: &'a PolicyModule,
    pub(super) code: Result<ConfiguredCode, Vec<Problem>>,
    /// Its last activation.
    pub(super) was: Option<&'a Activated>,
    pub(super) running: Option<Arc<Generation>>,
}

/// A choice.
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) code: Source,
    pub(super) settings: Map<String, Value>,
    pub(super) origin: String,
    pub(super) by: String,
}

/// Where code is taken from.
#[derive(Clone)]
pub(super) enum Source {
    /// As configured.
    Configured,
    /// From the store, under its digest.
    Kept(String),
    /// With the request.
    Given(Arc<[u8]>),
    /// As it runs.
    Running(Arc<Code>),
}

/// A choice that works.
pub(super) struct Ready {
    pub(super) generation: Arc<Generation>,
    pub(super) activated: Activated,
    /// Code that may not be in the store yet.
    pub(super) bytes: Option<Arc<[u8]>>,
}

impl Wish<'_> {
    /// What should run.
    pub(super) fn wanted(&self, by: &str) -> Attempt {
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
            code: loaded_code.map_or(Source::Configured, |was| Source::Kept(was.code.clone())),
            settings: loaded_settings.map_or_else(|| self.configured.settings.clone(), |was| was.settings.clone()),
            origin: loaded_code.map_or_else(|| self.configured_origin(), |was| was.origin.clone()),
            by: by.to_owned(),
        }
    }

    /// What should run, then what ran last, then what is configured: each once.
    pub(super) fn attempts(&self, by: &str) -> Vec<Attempt> {
        let last = self.was.map(|was| Attempt {
            code: Source::Kept(was.code.clone()),
            settings: was.settings.clone(),
            origin: was.origin.clone(),
            by: by.to_owned(),
        });
        let plain = Attempt {
            code: Source::Configured,
            settings: self.configured.settings.clone(),
            origin: self.configured_origin(),
            by: by.to_owned(),
        };
        let mut attempts: Vec<Attempt> = Vec::new();
        for attempt in [Some(self.wanted(by)), last, Some(plain)].into_iter().flatten() {
            let same =
                |other: &Attempt| self.digest(other) == self.digest(&attempt) && other.settings == attempt.settings;
            if !attempts.iter().any(same) {
                attempts.push(attempt);
            }
        }
        attempts
    }

    /// What an operator asks for; what is not said stays as it runs.
    pub(super) fn attempt_to_load(&self, request: LoadRequest) -> Attempt {
        let running = self.running.as_ref().map(|generation| &generation.candidate);
        let kept_settings = || running.map_or_else(|| self.configured.settings.clone(), |c| c.settings.clone());
        let (code, origin) = match (request.code, running) {
            (Some(bytes), _) => (Source::Given(bytes.into()), request.origin),
            (None, Some(running)) => (Source::Running(Arc::clone(&running.code)), running.origin.clone()),
            (None, None) => (Source::Configured, self.configured_origin()),
        };
        Attempt {
            code,
            settings: request.settings.unwrap_or_else(kept_settings),
            origin,
            by: request.by,
        }
    }

    /// Digest of an attempt's code; empty if there is no such code.
    pub(super) fn digest(&self, attempt: &Attempt) -> String {
        match &attempt.code {
            Source::Configured => self.code.as_ref().map_or(String::new(), |code| code.digest.clone()),
            Source::Kept(digest) => digest.clone(),
            Source::Given(bytes) => digest(bytes),
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
    fn activated(&self, generation: &Generation) -> Activated {
        let candidate = &generation.candidate;
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
        }
    }
}

impl Inner {
    /// Makes a generation of an attempt. The same code, settings, grants and limits are the same
    /// generation, whether it still runs or ran before a restart.
    pub(super) async fn realise(
        &self,
        wish: &Wish<'_>,
        attempt: &Attempt,
        ledger: &mut Ledger,
    ) -> Result<Ready, Vec<Problem>> {
        let (code, bytes) = self.code(wish, attempt).await?;
        let mut candidate = Candidate {
            module: wish.configured.name.as_str().into(),
            code,
            settings: attempt.settings.clone(),
            grants: wish.configured.grants.clone(),
            limits: wish.configured.limits.clone(),
            origin: attempt.origin.clone(),
            by: attempt.by.clone(),
        };
        let identity = candidate.identity();
        if let Some(running) = wish.running.as_ref().filter(|running| running.identity == identity) {
            return Ok(Ready {
                generation: Arc::clone(running),
                activated: wish.activated(running),
                bytes,
            });
        }
        let description = qualify(&self.core, &candidate, &wish.key).await?;
        let (number, since) = match wish.was.filter(|was| was.identity == identity) {
            Some(was) if wish.running.is_none() => {
                candidate.by.clone_from(&was.by);
                candidate.origin.clone_from(&was.origin);
                (was.generation, was.since)
            }
            _ => (ledger.next(), Timestamp::now()),
        };
        let generation = Generation::new(number, since, candidate, description);
        Ok(Ready {
            activated: wish.activated(&generation),
            generation: Arc::new(generation),
            bytes,
        })
    }

    /// Code that already runs is not compiled again.
    pub(super) async fn code(
        &self,
        wish: &Wish<'_>,
        attempt: &Attempt,
    ) -> Result<(Arc<Code>, Option<Arc<[u8]>>), Vec<Problem>> {
        let bytes = match &attempt.code {
            Source::Running(code) => return Ok((Arc::clone(code), None)),
            Source::Given(bytes) => Arc::clone(bytes),
            Source::Configured => Arc::clone(&wish.code.as_ref().map_err(Clone::clone)?.bytes),
            Source::Kept(digest) => match running_code(wish, digest) {
                Some(code) => return Ok((code, None)),
                None => self.kept(digest).await?,
            },
        };
        let code = match running_code(wish, &digest(&bytes)) {
            Some(code) => code,
            None => Arc::new(Code::new(&self.core.runtime, Arc::clone(&bytes)).await?),
        };
        Ok((code, Some(bytes)))
    }

    async fn kept(&self, digest: &str) -> Result<Arc<[u8]>, Vec<Problem>> {
        let problem = |text: String| vec![Problem::new("file", text)];
        let Some(store) = self.store.clone() else {
            return Err(problem("no code was kept".to_owned()));
        };
        let digest = digest.to_owned();
        match tokio::task::spawn_blocking(move || store.code(&digest)).await {
            Ok(Ok(bytes)) => Ok(bytes.into()),
            Ok(Err(error)) => Err(problem(format!("the code that was loaded: {error}"))),
            Err(error) => Err(problem(error.to_string())),
        }
    }
}

fn running_code(wish: &Wish<'_>, digest: &str) -> Option<Arc<Code>> {
    let code = &wish.running.as_ref()?.candidate.code;
    (code.digest == digest).then(|| Arc::clone(code))
}
