//! Where a policy runs: the engine, one instance for each unit of work, what it may call and take,
//! and what becomes of its faults.

pub mod admission_cache;
pub mod backtrace;
pub mod bindings;
pub mod compile;
pub mod component;
pub mod contract_0_1;
pub mod core_dump;
pub mod debug_info;
pub mod exports;
pub mod fault;
pub mod fuel;
pub mod generation;
pub mod histogram;
pub mod host_call;
pub mod host_functions;
pub mod instance;
pub mod instance_cache;
pub mod instance_state;
pub mod limits;
pub mod linker;
pub mod message_view;
pub mod metrics;
pub mod preinitialise;
pub mod runtime;
pub mod sliding_window;
pub mod to_wit;
pub mod validate;
pub mod wasi;

pub mod start_error;

/// The contract this host serves, as authors get it.
pub const CONTRACT_WIT: &str = include_str!("../../../wit/policy.wit");
