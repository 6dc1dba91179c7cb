//! The state of a shadow, running or ended, and the report. Shared by the shadow, the worker and the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::record::decision_diff::Comparison;
use crate::record::recorder::RecordHub;
use host_config::Share;
use host_engine::generation::Generation;
use host_events::{Event, Events};
use host_mail::Timestamp;

/// The report of a shadow.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ShadowReport {
    /// Module of the chain.
    pub module: String,
    /// SHA-256 of the candidate's code, hexadecimal.
    pub digest: String,
    /// Version from the candidate's description.
    pub version: String,
    /// Origin of the code.
    pub origin: String,
    /// Actor.
    pub by: String,
    /// The active generation that the candidate is compared with.
    pub against: u64,
    /// Share of the sessions that are compared.
    pub share: f64,
    /// Start of the shadow.
    pub started: Timestamp,
    /// Time at which the shadow ends.
    pub until: Timestamp,
    /// Reason of the end; none while the shadow runs.
    pub ended: Option<String>,
    /// Units of work that were not compared, because the queue was full or no instance was free.
    pub dropped: u64,
    /// The comparison.
    pub comparison: Comparison,
}

/// A shadow, running or ended.
pub(crate) struct ShadowRun {
    pub(crate) generation: Generation,
    /// Signature of the candidate's code, checked again when the signers change.
    pub(crate) signature: Option<String>,
    pub(crate) against: u64,
    pub(crate) share: f64,
    /// Share of a processor that the candidate may use.
    pub(crate) cpu: Share,
    pub(crate) started: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) stop: AtomicBool,
    pub(crate) dropped: Arc<AtomicU64>,
    pub(crate) state: Mutex<ShadowState>,
}

/// The mutable state of a shadow.
#[derive(Default)]
pub(crate) struct ShadowState {
    pub(crate) comparison: Comparison,
    pub(crate) ended: Option<String>,
}

impl ShadowRun {
    /// Locks the comparison and the end.
    pub(crate) fn state(&self) -> parking_lot::MutexGuard<'_, ShadowState> {
        self.state.lock()
    }

    pub(crate) fn report(&self) -> ShadowReport {
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

    pub(crate) fn is_running(&self) -> bool {
        self.state().ended.is_none()
    }

    /// Ends the shadow and stops the flow of records; a second call has no effect. The report stays.
    pub(crate) fn end(&self, records: &RecordHub, events: &Events, reason: &str) {
        self.stop.store(true, Ordering::Relaxed);
        {
            let mut state = self.state();
            if state.ended.is_some() {
                return;
            }
            state.ended = Some(reason.to_owned());
            // No other shadow starts before this shadow is marked as ended.
            records.tap.store(None);
        }
        let report = self.report();
        events.emit(Event::ShadowEnded {
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
}
