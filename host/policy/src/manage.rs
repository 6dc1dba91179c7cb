//! From a candidate to the generation in force, and back: checked, loaded, watched, staged, on
//! probation, rolled back, remembered.

pub(crate) mod activate;
pub(crate) mod activation_history;
pub(crate) mod activation_store;
pub(crate) mod candidate;
pub(crate) mod changes;
pub(crate) mod desired;
pub(crate) mod dry_run;
pub(crate) mod manager;
pub(crate) mod module_status;
pub(crate) mod preinitialise_task;
pub(crate) mod probation;
pub(crate) mod rollback_backoff;
pub(crate) mod rollout;
pub(crate) mod supervisor;
pub(crate) mod watch_folder;
