//! Managing policies: from a candidate to the active generation and back. A candidate is checked, loaded, staged, put on
//! probation, rolled back and remembered.

pub(crate) mod activate;
pub(crate) mod activation_history;
pub(crate) mod activation_store;
pub(crate) mod candidate;
pub(crate) mod changes;
pub(crate) mod desired;
pub(crate) mod dry_run;
pub(crate) mod manager;
pub(crate) mod module_status;
pub(crate) mod observers;
pub(crate) mod policy_set;
pub(crate) mod preinitialise_task;
pub(crate) mod probation;
pub(crate) mod reconfigure;
pub(crate) mod request;
pub(crate) mod rollback_backoff;
pub(crate) mod rollout;
pub(crate) mod supervisor;
pub(crate) mod watch_folder;
