//! Host services: answer the calls of policies while a question is being decided. `live_services` is the entry, used by
//! the evaluator of a running host and by the shadow.

pub(crate) mod counter_store;
pub(crate) mod live_services;
pub(crate) mod verification;
