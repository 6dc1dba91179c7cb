//! The observers of a running host: the recorder, and the supervisor's end for trials that fail.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::evaluate::observer::{Observation, Observer};
use crate::evaluate::trial::Trial;
use crate::manage::supervisor::FailedTrial;
use crate::record::recorder::RecordHub;
use host_config::RecordMode;
use host_contract::Origin;
use host_engine::generation::Generation;
use host_engine::host_call::HostServices;
use host_engine::sliding_window::Tally;

/// Forwards to the recorder and to the supervisor.
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

    fn faulted(&self, trial: Trial, tally: Tally) {
        // The supervisor ends with the set of policies: then there is nothing to roll back.
        let _ = self.failed.send((trial, tally));
    }
}
