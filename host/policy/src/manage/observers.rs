//! The observer of a running host. Forwards evaluations to the recorder and failed trials to the supervisor.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::evaluate::fault_budget::TrialTally;
use crate::evaluate::observer::{Observation, Observer};
use crate::evaluate::trial::Trial;
use crate::manage::supervisor::FailedTrial;
use crate::record::recorder::RecordHub;
use host_config::RecordMode;
use host_contract::Origin;
use host_engine::generation::Generation;
use host_engine::host_call::HostServices;

/// An observer that forwards to the recorder and to the supervisor.
pub(crate) struct HostObserver {
    pub(crate) records: Arc<RecordHub>,
    pub(crate) failed: mpsc::UnboundedSender<FailedTrial>,
}

impl Observer for HostObserver {
    fn started(
        &self,
        mode: RecordMode,
        generation: &Arc<Generation>,
        origin: Origin,
        services: &Arc<dyn HostServices>,
    ) -> Option<Box<dyn Observation>> {
        let recording = self.records.start(mode, generation, origin, services)?;
        Some(Box::new(recording))
    }

    fn faulted(&self, trial: Trial, tally: TrialTally) {
        // The supervisor ends with the set of policies: no rollback is needed then.
        let _ = self.failed.send((trial, tally));
    }
}
