//! Policies: evaluated for mail, recorded, managed and tried beside each other.
//!
//! [`PolicyManager`] is the entry: it implements [`host_contract::Decide`] for listener, session and delivery, and has one
//! method for each thing that an operator does with policies. A fault has become Event 4037 and the answer that the fault
//! table names before a question returns.
//!
//! `evaluate` asks the chain of modules and reports to observers; `record` follows units of work and plays them again;
//! `manage` changes the chain; `shadow` asks a candidate beside it; `services` answers what policies ask.

mod decision_log;
mod evaluate;
mod harness;
mod manage;
mod record;
mod services;
mod shadow;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use decision_log::{DecisionLog, Wanted};
pub use evaluate::policy_transaction::PolicyTransaction;
pub use evaluate::prepared_question::LiveQuestion;
pub use harness::fault_injection::{FaultInjection, Fuse};
pub use harness::{
    Cost, HarnessCode, HarnessSession, LoadedPolicy, Measurement, PolicyDescription, PolicyHarness, Purpose,
};
pub use manage::activate::{Activation, ModuleHistory, PastActivation};
pub use manage::activation_history::{How, Past};
pub use manage::changes::{Changes, Differs};
pub use manage::dry_run::Checked;
pub use manage::manager::PolicyManager;
pub use manage::module_status::{Condition, Health, ModuleStatus, ProbationStatus, StagedStatus, Utilisation};
pub use manage::policy_set::Draining;
pub use manage::request::{LoadRequest, ModuleSetup};
pub use manage::rollout::{StageRequest, Staged};
pub use record::decision_diff::{Change, Comparison, Example, Stand};
pub use record::offline_replay::Replay;
pub use record::recorder::Recorder;
pub use record::redact::Hash;
pub use record::{Called, Completeness, Exchange, ExchangeOutcome, Given, RECORD_VERSION, Record};
pub use services::counter_store::{CounterPage, CounterStatus};
pub use shadow::ShadowRequest;
pub use shadow::run_state::ShadowReport;
