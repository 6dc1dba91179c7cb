//! The observer interface: evaluations report questions and failed trials through [`Observer`]. Implemented by
//! `manage::observers` for the recorder and the supervisor.

use std::sync::Arc;
use std::time::Duration;

use crate::evaluate::fault_budget::TrialTally;
use crate::evaluate::prepared_question::LiveQuestion;
use crate::evaluate::trial::Trial;
use host_config::RecordMode;
use host_contract::{Decision, Origin};
use host_engine::fault::CallFailed;
use host_engine::generation::Generation;
use host_engine::host_call::HostServices;
use host_engine::validate::Opinion;
use host_mail::Timestamp;

/// An observer of evaluations. Called on the path of mail, so implementations never block.
pub(crate) trait Observer: Send + Sync {
    /// Called before the first question to a module in a unit of work. Returns an observation to follow the unit to the
    /// end.
    fn started(
        &self,
        mode: RecordMode,
        generation: &Arc<Generation>,
        origin: Origin,
        services: &Arc<dyn HostServices>,
    ) -> Option<Box<dyn Observation>>;

    /// Called when a generation on trial has used up the fault budget, once per trial.
    fn faulted(&self, trial: Trial, tally: TrialTally);
}

/// An observation of a module in a unit of work.
pub(crate) trait Observation: Send {
    /// Returns the host services that the module's calls go to during the observation.
    fn services(&self) -> Arc<dyn HostServices>;

    /// Called after each question, answered or failed.
    fn answered(&mut self, answer: ObservedAnswer<'_>);

    /// Called at the end of the unit of work.
    fn finished(self: Box<Self>, time: Timestamp, origin: Origin);
}

/// A question and the outcome.
pub(crate) struct ObservedAnswer<'a> {
    pub(crate) question: &'a LiveQuestion,
    /// True if the instance was made for this question.
    pub(crate) fresh: bool,
    pub(crate) result: &'a Result<Opinion<Decision>, CallFailed>,
    /// Time from the question to the outcome, instantiation included.
    pub(crate) duration: Duration,
    /// Bytes of a message's body that the configuration lets a record keep.
    pub(crate) recorded_body: u64,
}

/// An observer that ignores everything, for dry runs, replays and the harness.
pub(crate) struct NoObserver;

impl Observer for NoObserver {
    fn started(
        &self,
        _: RecordMode,
        _: &Arc<Generation>,
        _: Origin,
        _: &Arc<dyn HostServices>,
    ) -> Option<Box<dyn Observation>> {
        None
    }

    fn faulted(&self, _: Trial, _: TrialTally) {}
}
