//! A shadow that runs or has ended, and its report.

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
    pub(crate) generation: Generation,
    pub(crate) against: u64,
    pub(crate) share: f64,
    /// Of one processor, what it may take.
    pub(crate) cpu: Share,
    pub(crate) started: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) stop: AtomicBool,
    pub(crate) dropped: Arc<AtomicU64>,
    pub(crate) state: Mutex<ShadowState>,
}

#[derive(Default)]
pub(crate) struct ShadowState {
    pub(crate) comparison: Comparison,
    pub(crate) ended: Option<String>,
}

impl ShadowRun {
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

    pub(crate) fn runs(&self) -> bool {
        self.state().ended.is_none()
    }

    /// Ends the shadow, once, and stops records from being offered to it. The report stays.
    pub(crate) fn end(&self, records: &RecordHub, events: &Events, reason: &str) {
        self.stop.store(true, Ordering::Relaxed);
        {
            let mut state = self.state();
            if state.ended.is_some() {
                return;
            }
            state.ended = Some(reason.to_owned());
            // No other can have begun before this one is marked as ended.
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
