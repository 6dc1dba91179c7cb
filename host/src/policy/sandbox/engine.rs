//! The machinery every policy runs on: the compiler, the pool of instances and the clock that
//! bounds guest CPU. One type owns all three, so that none can exist without the others.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{Component, Linker};
use wasmtime::{Cache, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use super::compile::{Compiler, Compiling, open_cache};
use super::imports::{Host, link};
use super::meter::{Meter, PLENTY};
use crate::config::PolicyEngine;
use crate::event::Events;
use crate::policy::StartError;

/// The unit of guest CPU accounting.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Work that waits for instances asks for idle ones this often.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Instances that were asked something less than this ago are left where they are: the next question to them is
/// most likely on its way, and making them anew for it would cost more than others' waiting.
const IDLE: Duration = Duration::from_millis(25);
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
pub(in crate::policy) struct Runtime {
    engine: Engine,
    linker: Linker<Host>,
    compiling: Compiling,
    slots: Arc<Semaphore>,
    /// Told once for each idle holder whose instances are wanted elsewhere.
    wanted: Notify,
    /// Work that waits for instances now.
    waiting: AtomicUsize,
    capacity: u32,
    admissions: Option<NonZero<usize>>,
    /// Counts what guests execute; none in the daemon, where counting would cost.
    meter: Option<Meter>,
    _ticker: Ticker,
}

/// No instance was free in time.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) struct Overload {
    /// How long was waited.
    pub(in crate::policy) waited: Duration,
}

impl Runtime {
    /// Compiled code is kept in `folder`, if there is one.
    pub(in crate::policy) fn new(
        settings: &PolicyEngine,
        folder: Option<&Path>,
        compiler: Compiler,
        events: &Events,
    ) -> Result<Self, StartError> {
        Self::with(settings, folder, compiler, events, None)
    }

    /// As [`Self::new`], and what guests execute is counted: for measuring, not for the daemon.
    pub(in crate::policy) fn metered(settings: &PolicyEngine, folder: Option<&Path>) -> Result<Self, StartError> {
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
        let make = || -> wasmtime::Result<(Engine, Linker<Host>, Option<Cache>)> {
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
            slots: Arc::new(Semaphore::new(capacity as usize)),
            wanted: Notify::new(),
            waiting: AtomicUsize::new(0),
            capacity,
            admissions: NonZero::new(settings.remembered_admissions),
            meter,
            _ticker: ticker,
        })
    }

    /// The meter, if this engine has one.
    pub(in crate::policy) fn meter(&self) -> Option<&Meter> {
        self.meter.as_ref()
    }

    /// How many admissions of one generation are remembered, if any.
    pub(in crate::policy) fn remembered_admissions(&self) -> Option<NonZero<usize>> {
        self.admissions
    }

    /// What a call of this stage may burn, if a fuse is set for it.
    pub(in crate::policy) fn ration(&self, stage: &str) -> Option<u64> {
        self.meter.as_ref()?.ration(stage)
    }

    /// What a fresh instance begins with; none where nothing is counted.
    pub(in crate::policy) fn first_fuel(&self) -> Option<u64> {
        self.meter.as_ref().map(|_| PLENTY)
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn linker(&self) -> &Linker<Host> {
        &self.linker
    }

    /// Compiles off the mail path: this takes up to seconds.
    pub(super) async fn compile(&self, bytes: Arc<[u8]>, digest: &str) -> Result<Component, String> {
        self.compiling.component(bytes, digest).await
    }

    /// The right to have `count` instances, once it can be had. All at once: work that holds some
    /// and waits for more could wait for itself. Work that holds instances without using them is
    /// asked for them, so that only questions that are being answered can fill the pool.
    pub(in crate::policy) async fn slots(
        &self,
        count: usize,
        wait: Duration,
    ) -> Result<OwnedSemaphorePermit, Overload> {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(self.capacity);
        let since = Instant::now();
        let slots = Arc::clone(&self.slots).acquire_many_owned(count);
        let asking = async {
            let _waiting = Waiting::new(&self.waiting);
            loop {
                self.wanted.notify_one();
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        let granted = async {
            tokio::select! {
                biased;
                granted = slots => granted.ok(),
                never = asking => never,
            }
        };
        let granted = tokio::time::timeout(wait, granted).await;
        granted.ok().flatten().ok_or_else(|| Overload {
            waited: since.elapsed(),
        })
    }

    /// Completes when instances that stand idle since then are wanted elsewhere, and have stood long enough.
    pub(in crate::policy) async fn wanted(&self, idle_since: Instant) {
        let long_enough = tokio::time::Instant::from_std(idle_since + IDLE);
        loop {
            if self.waiting.load(Ordering::Relaxed) == 0 {
                // Perhaps somebody who has got some by now.
                self.wanted.notified().await;
            } else if tokio::time::Instant::now() >= long_enough {
                return;
            } else {
                tokio::time::sleep_until(long_enough).await;
            }
        }
    }
}

/// Counts work that waits, for as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
    let instances = capacity.saturating_add(SPARE_INSTANCES);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES))
        .total_tables(instances.saturating_mul(TABLES))
        // Four gigabytes of addresses each. Hardly any guest has more than one, so the spare ones find
        // theirs; and the smallest pool fits where addresses are few, as under valgrind.
        .total_memories(capacity.saturating_mul(MEMORIES).saturating_add(SPARE_INSTANCES))
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

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn idle_instances_are_given_back_if_somebody_waits_and_not_at_once() {
        let settings = PolicyEngine {
            instances: 1,
            ..PolicyEngine::default()
        };
        let runtime = Runtime::new(&settings, None, Compiler::Here, &Events::discard()).expect("starts");
        let now = Instant::now();
        let (long_ago, later) = (now.checked_sub(IDLE).expect("the machine is up"), now + IDLE * 1000);
        let is_wanted = |since| runtime.wanted(since).now_or_never().is_some();
        let wait = Duration::from_secs(60);

        let held = runtime.slots(1, wait).await.expect("there is one");
        assert!(!is_wanted(long_ago), "nobody waits");
        let mut waiting = pin!(runtime.slots(1, wait));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(is_wanted(long_ago));
        assert!(!is_wanted(later), "it has not been idle for long");
        drop(held);
        let held = waiting.await.expect("it was given back");
        assert!(!is_wanted(long_ago), "whoever waited has it");
        drop(held);
    }
}
