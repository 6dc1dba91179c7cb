//! Shadow: a candidate is asked what the active generation of a module was asked, off the way of the
//! mail. Its answers are compared and never applied, and it can slow nothing down: what does not fit
//! into its queue is dropped, and it runs on one thread that everything else goes before.

mod cpu_budget;
mod shadow_queue;
mod shadow_worker;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::manage::activation_history::{Cause, How};
use crate::manage::candidate::{configured_code, fits, validate};
use crate::manage::desired::{Desired, Source};
use crate::manage::manager::{Inner, find};
use crate::record::decision_diff::Comparison;
use crate::{LoadRequest, Policies};
use host_config::{Problem, Share};
use host_engine::core_dump::CoreDumps;
use host_engine::generation::Generation;
use host_events::Event;
use host_mail::Timestamp;

pub(crate) use crate::shadow::shadow_queue::{Intake, Sample};

/// What to try and for how long.
#[derive(Debug, Clone)]
pub struct ShadowRequest {
    /// Code and settings, as for a load.
    pub candidate: LoadRequest,
    /// Part of the sessions it sees, above 0 and up to 1.
    pub share: f64,
    /// It ends by itself after this.
    pub lasts: Duration,
}

/// How a shadow does, or did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ShadowReport {
    /// Module of the chain.
    pub module: String,
    /// SHA-256 of the candidate's code, hexadecimal.
    pub digest: String,
    /// The candidate's, as it says.
    pub version: String,
    /// Where its code came from.
    pub origin: String,
    /// Who wants to know.
    pub by: String,
    /// The active generation it is compared with.
    pub against: u64,
    /// Part of the sessions it sees.
    pub share: f64,
    /// Since when.
    pub started: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
    /// Why it ended; none while it runs.
    pub ended: Option<String>,
    /// Units of work that were not compared: the candidate takes too much of the processor, or of the pool,
    /// for all of them.
    pub dropped: u64,
    /// What would change.
    pub comparison: Comparison,
}

/// A shadow, running or ended.
pub(crate) struct ShadowRun {
    generation: Generation,
    against: u64,
    share: f64,
    /// Of one processor, what it may take.
    cpu: Share,
    started: Timestamp,
    until: Timestamp,
    stop: AtomicBool,
    dropped: Arc<AtomicU64>,
    state: Mutex<ShadowState>,
}

#[derive(Default)]
struct ShadowState {
    comparison: Comparison,
    ended: Option<String>,
}

impl ShadowRun {
    fn state(&self) -> std::sync::MutexGuard<'_, ShadowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> ShadowReport {
        let candidate = &self.generation.candidate;
        let state = self.state();
        ShadowReport {
            module: candidate.module.to_string(),
            digest: candidate.code.digest.clone(),
            version: self.generation.description.version.clone(),
            origin: candidate.origin.clone(),
            by: candidate.by.clone(),
            against: self.against,
            share: self.share,
            started: self.started,
            until: self.until,
            ended: state.ended.clone(),
            dropped: self.dropped.load(Ordering::Relaxed),
            comparison: state.comparison.clone(),
        }
    }

    fn runs(&self) -> bool {
        self.state().ended.is_none()
    }
}

impl Policies {
    /// Begins to ask a candidate what a module is asked (5033). One shadow at a time.
    pub async fn shadow(&self, request: ShadowRequest) -> Result<ShadowReport, Vec<Problem>> {
        let busy = |trial: &ShadowRun| {
            let text = format!(
                "there is a shadow of {} already; stop it first",
                trial.generation.candidate.module
            );
            vec![Problem::new("", text)]
        };
        if let Some(trial) = self.inner.trial().filter(|trial| trial.runs()) {
            return Err(busy(&trial));
        }
        if !(request.share > 0.0 && request.share <= 1.0) {
            return Err(vec![Problem::new("share", "expected more than 0 and at most 1")]);
        }
        let (generation, active) = self.inner.rival(request.candidate).await?;
        let started = Timestamp::now();
        let trial = Arc::new(ShadowRun {
            against: active.number,
            share: request.share,
            cpu: self.inner.chain.load().shadow_cpu,
            started,
            until: started.after(request.lasts),
            stop: AtomicBool::new(false),
            dropped: Arc::default(),
            state: Mutex::default(),
            generation,
        });
        // Only now, since two may have been checked at the same time.
        let takers = &self.inner.core.takers;
        let mut slot = takers.trial.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = slot.as_ref().filter(|trial| trial.runs()) {
            return Err(busy(other));
        }
        let intake = crate::shadow::shadow_worker::start(&self.inner, &trial)
            .map_err(|error| vec![Problem::new("", error.to_string())])?;
        takers.shadow.store(Some(Arc::new(intake)));
        *slot = Some(Arc::clone(&trial));
        drop(slot);
        let report = trial.report();
        self.inner.core.events.emit(Event::ShadowStarted {
            policy: report.module.clone(),
            version: report.version.clone(),
            digest: report.digest.clone(),
            against: report.against,
            share: report.share,
            until: report.until.to_string(),
            by: report.by.clone(),
        });
        Ok(report)
    }

    /// How the shadow does, or the last one did.
    pub fn shadow_report(&self) -> Option<ShadowReport> {
        self.inner.trial().map(|trial| trial.report())
    }

    /// Ends the shadow; what it found stays to be looked at. None if there is none.
    pub fn end_shadow(&self, reason: &str) -> Option<ShadowReport> {
        let trial = self.inner.trial().filter(|trial| trial.runs())?;
        self.inner.end(&trial, reason);
        Some(trial.report())
    }
}

impl Inner {
    fn trial(&self) -> Option<Arc<ShadowRun>> {
        let slot = self.core.takers.trial.lock().unwrap_or_else(PoisonError::into_inner);
        slot.clone()
    }

    /// A generation without a number, checked as for a load, and the one it is compared with.
    async fn rival(&self, request: LoadRequest) -> Result<(Generation, Arc<Generation>), Vec<Problem>> {
        let chain = self.chain.load_full();
        let place = find(&chain, request.module.as_deref())?;
        let Some(module) = chain.modules.get(place) else {
            return Err(vec![Problem::new("module", "there is no such module")]);
        };
        let active = match &module.running {
            Ok(active) => Arc::clone(active),
            Err(why) => {
                let text = format!("{} cannot run, so there is nothing to compare with: {why}", module.name);
                return Err(vec![Problem::new("module", text)]);
            }
        };
        let desired = Desired {
            key: format!("policy[{place}]"),
            configured: &module.configured,
            code: configured_code(&module.configured).await,
            was: None,
            running: Some(Arc::clone(&active)),
        };
        let by = request.by.clone();
        let attempt = desired.attempt_to_load(request);
        if let Source::Given(artifact) = &attempt.code {
            fits(artifact.bytes.len(), module.configured.limits.component_size)
                .map_err(|text| vec![Problem::new("file", text)])?;
        }
        let cause = Cause::new(How::Load, by, "");
        let (mut candidate, _) = self.candidate(&self.core, &desired, &attempt, &cause).await?;
        // A fault in the shadow is told of once, and leaves nothing behind.
        candidate.core_dumps = Arc::new(CoreDumps::new(None));
        let description = validate(&self.core, &candidate, &desired.key).await?;
        Ok((Generation::new(0, Timestamp::now(), candidate, description), active))
    }

    /// Says so, once.
    fn end(&self, trial: &ShadowRun, reason: &str) {
        trial.stop.store(true, Ordering::Relaxed);
        {
            let mut state = trial.state();
            if state.ended.is_some() {
                return;
            }
            state.ended = Some(reason.to_owned());
            // No other can have begun before this one is marked as ended.
            self.core.takers.shadow.store(None);
        }
        let report = trial.report();
        self.core.events.emit(Event::ShadowEnded {
            policy: report.module,
            digest: report.digest,
            reason: reason.to_owned(),
            compared: report.comparison.compared,
            same: report.comparison.same,
            different: report.comparison.different,
            faulted: report.comparison.faulted,
            unrecorded: report.comparison.unrecorded,
            dropped: report.dropped,
        });
    }

    /// The module's active generation is still the one that is compared with.
    fn still_active(&self, trial: &ShadowRun) -> bool {
        let chain = self.chain.load();
        let name = &trial.generation.candidate.module;
        let module = chain.modules.iter().find(|module| module.name == *name);
        let running = module.and_then(|module| module.running.as_ref().ok());
        running.is_some_and(|generation| generation.number == trial.against)
    }
}
