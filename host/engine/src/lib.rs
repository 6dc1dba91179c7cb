//! The policy sandbox: inspection, compilation and instantiation of components, limits of instances, functions that
//! policies import, and the classification of faults.

mod abort;
pub mod backtrace;
pub mod bindings;
pub mod compile;
pub mod component;
pub mod contract_0_1;
pub mod core_dump;
pub mod debug_info;
mod engine_config;
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
mod memory_budget;
pub mod message_view;
pub mod metrics;
pub mod preinitialise;
pub mod runtime;
pub mod sliding_window;
pub mod start_error;
pub mod to_wit;
pub mod validate;
pub mod wasi;

/// Text of the newest contract that this host serves, `wit/policy.wit`.
pub const CONTRACT_WIT: &str = include_str!("../../../wit/policy.wit");

/// Resolution of source locations, for `tests/fuzz`.
#[doc(hidden)]
pub mod fuzzing {
    use crate::backtrace::{SourcePlace, places};
    use crate::debug_info::DebugInfo;

    /// Describes the functions at each instruction, given as an offset in the component.
    pub fn source_places(component: &[u8], offsets: impl Iterator<Item = usize>) -> Vec<SourcePlace> {
        let info = DebugInfo::of(component.into());
        let mut reader = info.reader();
        offsets
            .flat_map(|offset| places(reader.symbols(offset), None))
            .collect()
    }
}
