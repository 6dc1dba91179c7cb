//! Compilation of components, off the mail path.
//!
//! Foreign code is compiled by a short-lived child of the same executable, at low priority and within bounds of
//! processor time and memory. A hostile component can hurt only the child, and the hundreds of megabytes that a large component takes
//! are freed when the child ends. The child fills the engine's disk cache, where this process finds the result.
//! Built-in components are small and known to compile, and are compiled in this process.

mod cache;
mod child;
mod parent;
mod progress;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;
use wasmtime::component::Component;
use wasmtime::{Cache, Engine};

use crate::compile::cache::{CACHE_LIMIT, inventory, repaired, tidy};
use crate::component::builtin;
use host_config::PolicyEngine;
use host_events::{Event, Events};

pub(super) use crate::compile::cache::open_cache;
pub use crate::compile::parent::COMMAND;
use crate::compile::parent::{ChildOptions, CompileFailure};
pub use crate::compile::progress::CompileProgress;
use crate::compile::progress::CurrentCompilation;
pub use child::compile_as_child;

/// Process that compiles foreign code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiler {
    /// A child of this process's executable, which must be `posthouse`. Needs a cache.
    Child,
    /// The current process: right for commands that end soon.
    Here,
}

/// Compiles components for an engine.
pub(super) struct ComponentCompiler {
    engine: Engine,
    /// Compiler of foreign code; `None` compiles every component in this process.
    child: Option<ChildCompiler>,
}

struct ChildCompiler {
    cache: Cache,
    options: ChildOptions,
    events: Events,
    current: CurrentCompilation,
    /// Serialises children, so that their memory does not add up and cache hits can be attributed.
    one_at_a_time: Mutex<()>,
}

impl ComponentCompiler {
    /// Makes a compiler for `engine`; `cache` is the engine's own cache and its folder.
    pub(super) fn new(
        engine: Engine,
        settings: &PolicyEngine,
        cache: Option<(Cache, PathBuf)>,
        compiler: Compiler,
        events: &Events,
    ) -> Self {
        let child = cache
            .filter(|_| compiler == Compiler::Child)
            .map(|(cache, folder)| ChildCompiler {
                cache,
                options: ChildOptions {
                    cache: folder,
                    memory: settings.compile_memory,
                    cpu: settings.compile_time,
                },
                events: events.clone(),
                current: CurrentCompilation::default(),
                one_at_a_time: Mutex::new(()),
            });
        Self { engine, child }
    }

    /// Compiles a component, or loads an earlier result from the cache. Errors are texts for an operator.
    pub(super) async fn compile(&self, bytes: Arc<[u8]>, digest: &str) -> Result<Component, String> {
        match &self.child {
            Some(child) => child.compile_watched(&self.engine, bytes, digest).await,
            None => compile_here(&self.engine, bytes).await,
        }
    }

    /// Returns the progress of the compilation in a child, if there is one.
    pub(super) fn progress(&self) -> Option<CompileProgress> {
        self.child.as_ref()?.current.progress()
    }
}

impl ChildCompiler {
    /// Compiles, and emits Event 5072 for each file of the cache that could not be used and was made again.
    async fn compile_watched(&self, engine: &Engine, bytes: Arc<[u8]>, digest: &str) -> Result<Component, String> {
        let _guard = self.one_at_a_time.lock().await;
        let folder = &self.options.cache;
        let before = inventory(folder);
        let compiled = match builtin::carries(&bytes) {
            true => compile_here(engine, bytes).await,
            false => self.compile(engine, bytes, digest).await,
        };
        for file in repaired(folder, &before) {
            self.events.emit(Event::FileMadeAgain {
                file: file.display().to_string(),
                reason: format!("the compiled code was damaged; the policy {digest} was compiled again"),
            });
        }
        compiled
    }

    async fn compile(&self, engine: &Engine, bytes: Arc<[u8]>, digest: &str) -> Result<Component, String> {
        let folder = self.options.cache.clone();
        let tidied = tokio::task::spawn_blocking(move || tidy(&folder, CACHE_LIMIT)).await;
        if let Ok(Err(error)) = tidied {
            tracing::warn!(%error, "the cache of compiled policies could not be tidied up");
        }
        let reason = match self.options.compile(&bytes, digest, &self.current).await {
            Ok(()) => "the result was not found in the cache".to_owned(),
            Err(CompileFailure::Refused(text)) => return Err(text),
            Err(CompileFailure::NotStarted(error)) => format!("no process could be started: {error}"),
        };
        let hits = self.cache.cache_hits();
        let component = compile_here(engine, bytes).await?;
        if self.cache.cache_hits() == hits {
            self.events.emit(Event::PolicyCompiledHere {
                digest: digest.to_owned(),
                reason,
            });
        }
        Ok(component)
    }
}

/// Compiles in this process, on a thread that may block.
async fn compile_here(engine: &Engine, bytes: Arc<[u8]>) -> Result<Component, String> {
    let engine = engine.clone();
    let compiled = tokio::task::spawn_blocking(move || Component::from_binary(&engine, &bytes)).await;
    match compiled {
        Ok(Ok(component)) => Ok(component),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err("the compiler failed; this is a defect of the host".to_owned()),
    }
}
