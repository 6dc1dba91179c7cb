//! The shadow: puts the questions of a module's active generation to a candidate, away from the path of mail. Answers
//! are compared and never applied, and mail is never delayed: samples that do not fit into the queue are dropped, and
//! the candidate runs on a thread of the lowest priority. Owned by the manager.

mod cpu_budget;
pub(crate) mod run_state;
mod shadow_queue;
mod shadow_worker;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;

use crate::manage::activation_history::{Cause, How};
use crate::manage::activation_store::Artifact;
use crate::manage::candidate::validate;
use crate::manage::desired::{Desired, candidate};
use crate::manage::policy_set::{PolicySet, find_module};
use crate::manage::request::LoadRequest;
use crate::manage::trusted_code::check_signature;
use crate::record::recorder::RecordHub;
use crate::shadow::run_state::{ShadowReport, ShadowRun};
use host_config::Problem;
use host_engine::core_dump::CoreDumps;
use host_engine::generation::Generation;
use host_events::{Event, Events};
use host_mail::Timestamp;

/// A request to start a shadow.
#[derive(Debug, Clone)]
pub struct ShadowRequest {
    /// Code and settings, as for a load.
    pub candidate: LoadRequest,
    /// Share of the sessions to compare, above 0 and up to 1.
    pub share: f64,
    /// Time until the shadow ends.
    pub lasts: Duration,
}

/// The shadow of a host: the running shadow, or the last.
pub(crate) struct Shadow {
    records: Arc<RecordHub>,
    run: Mutex<Option<Arc<ShadowRun>>>,
}

impl Shadow {
    pub(crate) fn new(records: Arc<RecordHub>) -> Self {
        Self {
            records,
            run: Mutex::default(),
        }
    }

    /// Starts a shadow (5033). Only a single shadow runs at a time.
    pub(crate) async fn start(
        self: &Arc<Self>,
        set: &Arc<PolicySet>,
        request: ShadowRequest,
    ) -> Result<ShadowReport, Vec<Problem>> {
        let busy = |run: &ShadowRun| {
            let text = format!(
                "there is a shadow of {} already; stop it first",
                run.generation.candidate.module
            );
            vec![Problem::new("", text)]
        };
        if let Some(run) = self.running() {
            return Err(busy(&run));
        }
        if !(request.share > 0.0 && request.share <= 1.0) {
            return Err(vec![Problem::new("share", "expected more than 0 and at most 1")]);
        }
        let (generation, signature, active) = build_candidate(set, request.candidate).await?;
        let started = Timestamp::now();
        let run = Arc::new(ShadowRun {
            against: active.number,
            share: request.share,
            cpu: set.chain.load().shadow_cpu,
            started,
            until: started.after(request.lasts),
            stop: AtomicBool::new(false),
            dropped: Arc::default(),
            state: Mutex::default(),
            generation,
            signature,
        });
        // Checked again: two candidates may have been validated at the same time.
        let mut slot = self.run.lock();
        if let Some(other) = slot.as_ref().filter(|run| run.is_running()) {
            return Err(busy(other));
        }
        let tap = crate::shadow::shadow_worker::start(set, &self.records, &run)
            .map_err(|error| vec![Problem::new("", error.to_string())])?;
        self.records.tap.store(Some(Arc::new(Box::new(tap))));
        *slot = Some(Arc::clone(&run));
        drop(slot);
        let report = run.report();
        set.evaluator.events.emit(Event::ShadowStarted {
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

    /// Returns the report of the running shadow, or of the last.
    pub(crate) fn report(&self) -> Option<ShadowReport> {
        self.run.lock().as_ref().map(|run| run.report())
    }

    /// Ends the running shadow and returns the final report; `None` if no shadow runs.
    pub(crate) fn end(&self, events: &Events, reason: &str) -> Option<ShadowReport> {
        let run = self.running()?;
        run.end(&self.records, events, reason);
        Some(run.report())
    }

    /// Ends the running shadow if its code has no signature that the module's signers of today accept.
    pub(crate) async fn end_untrusted(&self, set: &PolicySet) {
        let Some(run) = self.running() else { return };
        let chain = set.chain.load_full();
        let candidate = &run.generation.candidate;
        let Some(module) = chain.modules.iter().find(|module| module.name == candidate.module) else {
            return;
        };
        let artifact = Artifact {
            bytes: Arc::clone(&candidate.code.bytes),
            signature: run.signature.clone(),
        };
        if check_signature(&artifact, &module.configured.signed_by, &module.name).is_err() {
            let reason = "its code has no signature that signed-by accepts";
            run.end(&self.records, &set.evaluator.events, reason);
        }
    }

    /// Returns the running shadow.
    pub(crate) fn running(&self) -> Option<Arc<ShadowRun>> {
        self.run.lock().clone().filter(|run| run.is_running())
    }
}

/// The candidate, the signature of its code, and the active generation to compare with.
type ShadowPair = (Generation, Option<String>, Arc<Generation>);

/// Builds the candidate as a generation without a number, checked as for a load.
async fn build_candidate(set: &PolicySet, request: LoadRequest) -> Result<ShadowPair, Vec<Problem>> {
    let chain = set.chain.load_full();
    let position = find_module(&chain, request.module.as_deref())?;
    let desired = Desired::of_module(&chain, position, None).await?;
    let Some(active) = desired.running.clone() else {
        let module = chain.modules.get(position);
        let why = module
            .and_then(|module| module.running.as_ref().err().cloned())
            .unwrap_or_default();
        let text = format!(
            "{} cannot run, so there is nothing to compare with: {why}",
            desired.configured.name
        );
        return Err(vec![Problem::new("module", text)]);
    };
    let cause = Cause::new(How::Load, request.by.clone(), "");
    let attempt = desired.attempt_to_load(request);
    let (mut candidate, artifact) = candidate(set, &set.evaluator, &desired, &attempt, &cause).await?;
    // A fault in the shadow is a single event, and leaves no core dump.
    candidate.core_dumps = Arc::new(CoreDumps::new(None));
    let description = validate(&set.evaluator, &candidate, &desired.key).await?;
    let signature = match artifact {
        Some(artifact) => artifact.signature,
        None => set.stored_signature(&candidate.code.digest).await,
    };
    Ok((
        Generation::new(0, Timestamp::now(), candidate, description),
        signature,
        active,
    ))
}
