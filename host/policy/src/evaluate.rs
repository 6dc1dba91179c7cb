//! Evaluation: asks the modules of the chain about a unit of work, which is an admission, a mail transaction or a
//! notification.
//!
//! The manager uses `host_questions` and `policy_transaction` for mail; `record`, `shadow` and `harness` use the parts
//! that ask a single policy. How policies are loaded and recorded is not known here: an observer is informed instead.

pub(crate) mod chain;
pub(crate) mod evaluation;
pub(crate) mod evaluator;
pub(crate) mod fault_budget;
pub(crate) mod fault_origin;
pub(crate) mod host_questions;
pub(crate) mod observer;
pub(crate) mod policy_transaction;
pub(crate) mod prepared_question;
pub(crate) mod route;
pub(crate) mod trial;
