//! Shadow: a candidate is asked what the active generation of a module was asked, off the way of the
//! mail. Its answers are compared and never applied, and it can slow nothing down: what does not fit
//! into its queue is dropped, and it runs on one thread that everything else goes before.

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
use crate::manage::policy_set::{PolicySet, find};
use crate::manage::request::LoadRequest;
use crate::record::recorder::RecordHub;
use crate::shadow::run_state::{ShadowReport, ShadowRun};
use host_config::Problem;
use host_engine::core_dump::CoreDumps;
use host_engine::generation::Generation;
use host_events::{Event, Events};
use host_mail::Timestamp;

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

/// The shadow of a host: the one that runs, or the last one.
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

    /// Starts to ask a candidate what a module is asked (5033). One shadow runs at a time.
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
        let (generation, active) = rival(set, request.candidate).await?;
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
        if let Some(other) = slot.as_ref().filter(|run| run.runs()) {
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

    /// Returns the report of the shadow that runs, or of the last one.
    pub(crate) fn report(&self) -> Option<ShadowReport> {
        self.run.lock().as_ref().map(|run| run.report())
    }

    /// Ends the shadow that runs; its report stays. `None` if there is none.
    pub(crate) fn end(&self, events: &Events, reason: &str) -> Option<ShadowReport> {
        let run = self.running()?;
        run.end(&self.records, events, reason);
        Some(run.report())
    }

    /// Returns the shadow that runs.
    pub(crate) fn running(&self) -> Option<Arc<ShadowRun>> {
        self.run.lock().clone().filter(|run| run.runs())
    }
}

/// Returns a generation without a number, checked as for a load, and the active one that it is compared with.
async fn rival(set: &PolicySet, request: LoadRequest) -> Result<(Generation, Arc<Generation>), Vec<Problem>> {
    let chain = set.chain.load_full();
    let place = find(&chain, request.module.as_deref())?;
    let desired = Desired::of_module(&chain, place, None).await?;
    let Some(active) = desired.running.clone() else {
        let module = chain.modules.get(place);
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
    // A fault in the shadow is one event, and leaves no core dump.
    candidate.core_dumps = Arc::new(CoreDumps::new(None));
    let description = validate(&set.evaluator, &candidate, &desired.key).await?;
    Ok((Generation::new(0, Timestamp::now(), candidate, description), active))
}
