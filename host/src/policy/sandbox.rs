//! Where a policy runs: the engine, one instance for each unit of work, what it may call and take,
//! and what becomes of its faults.

pub(super) mod admissions;
pub(super) mod backtrace;
pub(super) mod bindings;
pub(super) mod call;
pub(super) mod check;
pub(super) mod compile;
pub(super) mod convert;
pub(super) mod core_dump;
pub(super) mod counters;
pub(super) mod debug_info;
pub(super) mod engine;
pub(super) mod exports;
pub(super) mod fault;
pub(super) mod generation;
pub(super) mod histogram;
pub(super) mod idle;
pub(super) mod imports;
pub(super) mod instance;
pub(super) mod limits;
pub(super) mod live;
pub(super) mod meter;
pub(super) mod metrics;
pub(super) mod older;
pub(super) mod snapshot;
pub(super) mod verification;
pub(super) mod wasi;
pub(super) mod window;
