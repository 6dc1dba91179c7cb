//! Configuration of the wasmtime engine: epoch interruption, core dumps and the pooling allocator.

use std::time::Duration;

use wasmtime::{Cache, Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

/// Period of epoch interruption, and the unit of guest CPU accounting.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Linear memory that all idle instances may have together, in bytes.
const IDLE_MEMORY: usize = 128 << 20;
/// Bytes for which each idle instance counts at least; this bounds the number of idle instances.
pub(super) const MIN_IDLE_INSTANCE: usize = 4 << 20;
/// Maximum number of idle instances.
const MAX_IDLE: u32 = (IDLE_MEMORY / MIN_IDLE_INSTANCE) as u32;
/// Instances beside the configured number: for candidates that are being checked, and for the shadow.
const SPARE_INSTANCES: u32 = 4;
/// Core instances that a component may need. Python guests built without WASI take 38.
const CORE_INSTANCES: u32 = 48;
/// Tables that a component may need.
const TABLES: u32 = 48;
/// Linear memories that a component may need. JavaScript guests take three.
const MEMORIES: u32 = 4;
/// Bytes of written memory that are cleared in user space, rather than returned to the kernel and faulted in again by
/// the next instance. Pays most where the kernel reports written pages (`PAGEMAP_SCAN`), since all other pages are
/// skipped.
const KEEP_RESIDENT: usize = 128 * 1024;

/// Maximum number of idle instances beside `capacity` instances in use. The pooling allocator has slots for both.
pub(super) fn max_idle(capacity: u32) -> u32 {
    MAX_IDLE.min(capacity)
}

/// Configuration of an engine for `capacity` instances in use at once. Parent and child of a compilation share the
/// configuration, since compiled code depends on all settings but `capacity`.
pub(super) fn engine_config(capacity: u32, cache: Option<&Cache>) -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .memory_init_cow(true)
        // `debug_info` resolves source locations.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // Costs a few handles a trap; a dump is written only if the operator configured a folder.
        .coredump_on_trap(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(capacity)));
    config.cache(cache.cloned());
    config
}

fn pooling(capacity: u32) -> PoolingAllocationConfig {
    let idle = max_idle(capacity);
    let instances = capacity.saturating_add(idle).saturating_add(SPARE_INSTANCES);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES))
        .total_tables(instances.saturating_mul(TABLES))
        // Each memory reserves four gigabytes of addresses. Few guests have more than one memory, so spare instances
        // count once; and the smallest pool fits where addresses are scarce, as under valgrind.
        .total_memories(
            (capacity + idle)
                .saturating_mul(MEMORIES)
                .saturating_add(SPARE_INSTANCES),
        )
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_tables_per_component(TABLES)
        .max_memories_per_component(MEMORIES)
        .max_unused_warm_slots(instances)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        .pagemap_scan(Enabled::Auto);
    pool
}
