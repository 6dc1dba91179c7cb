//! Evaluation: the chain of modules, asked one unit of work at a time. Nothing here knows how policies are loaded, recorded
//! or tried: observers are told.

pub(crate) mod chain;
pub(crate) mod evaluation;
pub(crate) mod evaluator;
pub(crate) mod fault_budget;
pub(crate) mod host_questions;
pub(crate) mod observer;
pub(crate) mod policy_transaction;
pub(crate) mod prepared_question;
pub(crate) mod route;
pub(crate) mod trial;
