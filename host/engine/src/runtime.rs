//! The machinery every policy runs on: the compiler, the pool of instances and the clock that
//! bounds guest CPU. One type owns all three, so that none can exist without the others.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use wasmtime::component::{Component, Linker};
use wasmtime::{Cache, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use super::compile::{Compiler, Compiling, open_cache};
use super::generation::Generation;
use super::instance::Instance;
use crate::fuel::{Meter, PLENTY};
use crate::instance_cache::{self, InstanceCache, MemoryBudget};
use crate::instance_state::InstanceState;
use crate::linker::link;
use crate::start_error::StartError;
use host_config::PolicyEngine;
use host_events::Events;
use host_sync::permit_pool::{AcquireTimeout, Permit, PermitPool};

/// The unit of guest CPU accounting.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Instances beside the configured ones: for candidates that are being checked, and one in the shadow.
const SPARE_INSTANCES: u32 = 4;
/// Core instances, tables and memories one component may need. Python guests built without WASI
/// take 38 core instances, JavaScript ones three memories.
const CORE_INSTANCES: u32 = 48;
const TABLES: u32 = 48;
const MEMORIES: u32 = 4;
/// Bytes a guest wrote that are cleared by hand, rather than given back to the kernel and faulted in
/// again by the next instance. Where the kernel can tell which pages were written this is worth
/// more, since all others are skipped.
const KEEP_RESIDENT: usize = 128 * 1024;

/// Compiler, pool and clock.
pub struct Runtime {
    engine: Engine,
    linker: Linker<InstanceState>,
    compiling: Compiling,
    pool: Arc<PermitPool>,
    idle: MemoryBudget,
    admissions: Option<NonZero<usize>>,
    /// Counts what guests execute; none in the daemon, where counting would cost.
    meter: Option<Meter>,
    _ticker: Ticker,
}

impl Runtime {
    /// Compiled code is kept in `folder`, if there is one.
    pub fn new(
        settings: &PolicyEngine,
        folder: Option<&Path>,
        compiler: Compiler,
        events: &Events,
    ) -> Result<Self, StartError> {
        Self::with(settings, folder, compiler, events, None)
    }

    /// As [`Self::new`], and what guests execute is counted: for measuring, not for the daemon.
    pub fn metered(settings: &PolicyEngine, folder: Option<&Path>) -> Result<Self, StartError> {
        let meter = Some(Meter::default());
        Self::with(settings, folder, Compiler::Here, &Events::discard(), meter)
    }

    fn with(
        settings: &PolicyEngine,
        folder: Option<&Path>,
        compiler: Compiler,
        events: &Events,
        meter: Option<Meter>,
    ) -> Result<Self, StartError> {
        let capacity = settings.instances.max(1);
        let make = || -> wasmtime::Result<(Engine, Linker<InstanceState>, Option<Cache>)> {
            let cache = folder.map(open_cache).transpose()?;
            let mut config = engine_config(capacity, cache.as_ref());
            config.consume_fuel(meter.is_some());
            let engine = Engine::new(&config)?;
            let linker = link(&engine)?;
            Ok((engine, linker, cache))
        };
        let (engine, linker, cache) = make().map_err(|error| StartError(format!("{error:#}")))?;
        let cache = cache.zip(folder.map(PathBuf::from));
        let compiling = Compiling::new(engine.clone(), settings, cache, compiler, events);
        let ticker = Ticker::start(engine.clone()).map_err(|error| StartError(format!("clock: {error}")))?;
        Ok(Self {
            engine,
            linker,
            compiling,
            pool: PermitPool::new(capacity),
            idle: MemoryBudget::new(capacity),
            admissions: NonZero::new(settings.remembered_admissions),
            meter,
            _ticker: ticker,
        })
    }

    /// The meter, if this engine has one.
    pub fn meter(&self) -> Option<&Meter> {
        self.meter.as_ref()
    }

    /// How many admissions of one generation are remembered, if any.
    pub fn remembered_admissions(&self) -> Option<NonZero<usize>> {
        self.admissions
    }

    /// What a call of this stage may burn, if a fuse is set for it.
    pub fn ration(&self, stage: &str) -> Option<u64> {
        self.meter.as_ref()?.ration(stage)
    }

    /// What a fresh instance begins with; none where nothing is counted.
    pub fn first_fuel(&self) -> Option<u64> {
        self.meter.as_ref().map(|_| PLENTY)
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn linker(&self) -> &Linker<InstanceState> {
        &self.linker
    }

    /// Compiles off the mail path: this takes up to seconds.
    pub(super) async fn compile(&self, bytes: Arc<[u8]>, digest: &str) -> Result<Component, String> {
        self.compiling.component(bytes, digest).await
    }

    /// The right to have `count` instances, see [`PermitPool::take`].
    pub async fn slots(&self, count: usize, wait: Duration) -> Result<Permit, AcquireTimeout> {
        self.pool.acquire(count, wait).await
    }

    /// Keeps an instance for the next question, or gives it back if it cannot be kept. Where what is executed is counted, fresh
    /// ones are to count.
    pub fn keep(&self, idle: &InstanceCache, generation: &Arc<Generation>, instance: Instance) -> Option<Instance> {
        match self.meter {
            Some(_) => Some(instance),
            None => idle.keep(&self.idle, generation, instance),
        }
    }
}

/// Whoever compiles for whom must use the same: what is compiled depends on it, though not on
/// `capacity`.
pub(super) fn engine_config(capacity: u32, cache: Option<&Cache>) -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .memory_init_cow(true)
        // `debug_info` looks places up.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // A few handles more with each trap; written only where somebody wants it.
        .coredump_on_trap(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(capacity)));
    config.cache(cache.cloned());
    config
}

fn pool(capacity: u32) -> PoolingAllocationConfig {
    let idle = instance_cache::most(capacity);
    let instances = capacity.saturating_add(idle).saturating_add(SPARE_INSTANCES);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES))
        .total_tables(instances.saturating_mul(TABLES))
        // Four gigabytes of addresses each. Hardly any guest has more than one, so the spare ones find
        // theirs; and the smallest pool fits where addresses are few, as under valgrind.
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

/// Advances the engine's epoch until it is dropped. A thread of its own, since a guest that spins
/// may hold every worker of the async runtime until the next tick.
struct Ticker {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: Engine) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name("policy-clock".to_owned()).spawn(move || {
            while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
                engine.increment_epoch();
            }
        })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends at once: its channel is closed.
            let _ = thread.join();
        }
    }
}
