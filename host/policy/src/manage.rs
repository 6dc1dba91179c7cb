//! Management of policies, from a candidate to the active generation and back. Used by the daemon and the command line
//! through [`manager::PolicyManager`].
//!
//! - `policy_set` owns the chain and serialises every change.
//! - `desired` chooses code and settings, `candidate` checks the choice, `activate` makes the result durable and
//!   active.
//! - `rollout` stages a candidate, `probation` rolls a bad generation back, `supervisor` ends both kinds of trial.
//! - `bring_up` builds the chain at a start, `reconfigure` rebuilds it at a reload.
//! - `trusted_code` checks signatures, `signers` applies `signed-by` to everything that runs, `standing` holds what an
//!   operator has to know of a module.
//! - `activation_store` and `activation_history` remember activations; `rollback_backoff` delays a retry after a
//!   rollback.
//! - `loaded_parts` compares a configuration with the ledger, `replaced_load` names a load that a configuration
//!   replaces.
//! - `watch_folder` loads files that are moved into a folder.

pub(crate) mod activate;
pub(crate) mod activation_history;
pub(crate) mod activation_store;
pub(crate) mod bring_up;
pub(crate) mod candidate;
pub(crate) mod changes;
pub(crate) mod desired;
pub(crate) mod dry_run;
pub(crate) mod loaded_parts;
pub(crate) mod manager;
pub(crate) mod module_status;
pub(crate) mod observers;
pub(crate) mod policy_set;
pub(crate) mod preinitialise_task;
pub(crate) mod probation;
pub(crate) mod reconfigure;
pub(crate) mod replaced_load;
pub(crate) mod request;
pub(crate) mod rollback_backoff;
pub(crate) mod rollout;
pub(crate) mod signers;
pub(crate) mod standing;
pub(crate) mod standing_review;
pub(crate) mod supervisor;
pub(crate) mod trusted_code;
pub(crate) mod watch_folder;
