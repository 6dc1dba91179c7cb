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
use crate::manage::candidate::validate;
use crate::manage::desired::{Desired, candidate};
use crate::manage::policy_set::{PolicySet, find_module};
use crate::manage::request::LoadRequest;
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
        let (generation, active) = build_candidate(set, request.candidate).await?;
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

    /// Returns the running shadow.
    pub(crate) fn running(&self) -> Option<Arc<ShadowRun>> {
        self.run.lock().clone().filter(|run| run.is_running())
    }
}

/// Builds the candidate as a generation without a number, checked as for a load. Returns the candidate and the active
/// generation to compare with.
async fn build_candidate(set: &PolicySet, request: LoadRequest) -> Result<(Generation, Arc<Generation>), Vec<Problem>> {
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
    let (mut candidate, _) = candidate(set, &set.evaluator, &desired, &attempt, &cause).await?;
    // A fault in the shadow is a single event, and leaves no core dump.
    candidate.core_dumps = Arc::new(CoreDumps::new(None));
    let description = validate(&set.evaluator, &candidate, &desired.key).await?;
    Ok((Generation::new(0, Timestamp::now(), candidate, description), active))
}
