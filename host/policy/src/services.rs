//! Host services: what policies can ask while they decide, answered by the host as it stands.

pub(crate) mod counter_store;
pub(crate) mod live_services;
pub(crate) mod verification;
