//! Observers: the evaluator reports to them and knows nothing of recorder, shadow and supervisor.

use std::sync::Arc;
use std::time::Duration;

use crate::evaluate::prepared_question::LiveQuestion;
use crate::evaluate::trial::Trial;
use host_config::RecordMode;
use host_contract::{Decision, Origin};
use host_engine::fault::CallFailed;
use host_engine::generation::Generation;
use host_engine::host_call::HostServices;
use host_engine::sliding_window::Tally;
use host_engine::validate::Opinion;
use host_mail::Timestamp;

/// A listener of evaluations. Called on the path of mail: nothing here may wait.
pub(crate) trait Observer: Send + Sync {
    /// A module is about to be asked its first question in a unit of work. Returns an observation if the unit is to be
    /// followed to its end.
    fn started(
        &self,
        mode: RecordMode,
        generation: &Arc<Generation>,
        origin: Origin,
        services: &Arc<dyn HostServices>,
    ) -> Option<Box<dyn Observation>>;

    /// A generation on trial has used up its fault budget. Called once for each trial.
    fn faulted(&self, trial: Trial, tally: Tally);
}

/// One module in one unit of work, as an observer follows it.
pub(crate) trait Observation: Send {
    /// Returns the services that the module's calls go to while it is observed.
    fn services(&self) -> Arc<dyn HostServices>;

    /// A question was answered, or the call failed. `recorded_body` is the number of bytes of a message's body that the
    /// configuration lets a record keep.
    fn answered(&mut self, answer: ObservedAnswer<'_>);

    /// The unit of work is over.
    fn finished(self: Box<Self>, time: Timestamp, origin: Origin);
}

/// A question and its outcome.
pub(crate) struct ObservedAnswer<'a> {
    pub(crate) question: &'a LiveQuestion,
    /// True if the instance was made for this question.
    pub(crate) fresh: bool,
    pub(crate) result: &'a Result<Opinion<Decision>, CallFailed>,
    /// Time from the question to the outcome, instantiation included.
    pub(crate) duration: Duration,
    /// Bytes of a message's body that a record may keep.
    pub(crate) recorded_body: u64,
}

/// An observer that follows nothing: for policies that are only tried.
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

    fn faulted(&self, _: Trial, _: Tally) {}
}
