//! Policies: evaluated for mail, recorded, managed, staged and shadowed.
//!
//! [`PolicyManager`] is the entry point. The listener, the session and delivery ask the manager through
//! [`host_contract::Decide`]; the control socket and the command line call a method for each operation of an operator.
//! Every question returns an answer: a fault of a policy is emitted as Event 4037, and the fault table answers instead.
//!
//! - `evaluate` asks the modules of the chain and reports to observers.
//! - `record` records units of work and replays records with another policy.
//! - `manage` changes the chain: load, stage, promote, roll back and reload.
//! - `shadow` asks a candidate beside the active generation, without effect on mail.
//! - `services` answers the host calls of policies.
//! - `decision_log` stores records on disk, bounded by size and age.
//! - `harness` runs a single policy for the tools of authors.

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
pub use host_events::{Condition, Health};
pub use manage::activate::{Activation, ModuleHistory, PastActivation};
pub use manage::activation_history::{How, Past};
pub use manage::changes::{Changes, Differs};
pub use manage::dry_run::Checked;
pub use manage::loaded_parts::loaded_differences;
pub use manage::manager::PolicyManager;
pub use manage::module_status::{ModuleStatus, ProbationStatus, StagedStatus, Utilisation};
pub use manage::policy_set::Draining;
pub use manage::reconfigure::PolicyReload;
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
