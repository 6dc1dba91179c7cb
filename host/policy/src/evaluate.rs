//! Evaluation: the chain of modules, one unit of work at a time.

pub(crate) mod ask;
pub(crate) mod chain;
pub(crate) mod evaluation;
pub(crate) mod fault_budget;
pub(crate) mod route;
pub(crate) mod staging;
