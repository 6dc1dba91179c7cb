//! The runtime that every policy shares: compiler, linker, pool of instances and the clock of epoch interruption.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use wasmtime::component::{Component, Linker};
use wasmtime::{Cache, Engine};

use super::compile::{CompileProgress, Compiler, ComponentCompiler, open_cache};
use crate::engine_config::{TICK, engine_config};
use crate::fuel::{Meter, PLENTY};
use crate::instance_state::InstanceState;
use crate::linker::link;
use crate::memory_budget::MemoryBudget;
use crate::start_error::StartError;
use host_config::PolicyEngine;
use host_events::Events;
use host_sync::permit_pool::{AcquireTimeout, Permit, PermitPool};

/// Compiler, linker, pool and clock, owned together so that none exists without the others.
pub struct Runtime {
    engine: Engine,
    linker: Linker<InstanceState>,
    compiler: ComponentCompiler,
    permits: Arc<PermitPool>,
    memory_budget: MemoryBudget,
    /// Fuel meter for measurements; `None` in the daemon, where counting would slow guests down.
    meter: Option<Meter>,
    _ticker: Ticker,
}

impl Runtime {
    /// Makes a runtime without a fuel meter. Compiled code is cached in `folder`, if given.
    pub fn new(
        settings: &PolicyEngine,
        folder: Option<&Path>,
        compiler: Compiler,
        events: &Events,
    ) -> Result<Self, StartError> {
        Self::with(settings, folder, compiler, events, None)
    }

    /// Makes a runtime with a fuel meter, for measurements and tests. Compiles in this process and emits no events.
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
        let compiler = ComponentCompiler::new(engine.clone(), settings, cache, compiler, events);
        let ticker = Ticker::start(engine.clone()).map_err(|error| StartError(format!("clock: {error}")))?;
        Ok(Self {
            engine,
            linker,
            compiler,
            permits: PermitPool::new(capacity),
            memory_budget: MemoryBudget::new(capacity),
            meter,
            _ticker: ticker,
        })
    }

    /// Returns the fuel meter, if this runtime has one.
    pub fn meter(&self) -> Option<&Meter> {
        self.meter.as_ref()
    }

    /// Fuel limit of a call of `stage`; `None` if no fuse is set for that stage.
    pub fn ration(&self, stage: &str) -> Option<u64> {
        self.meter.as_ref()?.limit(stage)
    }

    /// Fuel of a new instance; `None` without a fuel meter.
    pub fn first_fuel(&self) -> Option<u64> {
        self.meter.as_ref().map(|_| PLENTY)
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn linker(&self) -> &Linker<InstanceState> {
        &self.linker
    }

    pub(super) fn memory_budget(&self) -> &MemoryBudget {
        &self.memory_budget
    }

    /// Compiles a component, which takes up to seconds. Callers are never on the path of a message.
    pub(super) async fn compile(&self, bytes: Arc<[u8]>, digest: &str) -> Result<Component, String> {
        self.compiler.compile(bytes, digest).await
    }

    /// Returns the progress of a compilation in a child process; `None` if there is none.
    pub fn compiling(&self) -> Option<CompileProgress> {
        self.compiler.progress()
    }

    /// Acquires the right to have `count` instances, see [`PermitPool::acquire`].
    pub async fn slots(&self, count: usize, wait: Duration) -> Result<Permit, AcquireTimeout> {
        self.permits.acquire(count, wait).await
    }
}

/// Advances the engine's epoch every [`TICK`] until dropped. Has its own thread, since guests that spin may occupy
/// every worker of the async runtime until the next tick.
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
            // Does not block: the closed channel ends the thread at once.
            let _ = thread.join();
        }
    }
}
