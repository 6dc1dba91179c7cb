//! Where components are compiled: off the mail path.
//!
//! Code from outside is compiled by a short-lived child of the same executable, at low priority and
//! within bounds of time and memory: what a hostile component does to the compiler, and the
//! hundreds of megabytes a large one leaves behind, go with the child. The child fills the engine's
//! cache on disk, where this process then finds the result. What the host carries itself is known
//! to compile, is small, and is compiled here.

mod cache;
mod child;
mod parent;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;
use wasmtime::component::Component;
use wasmtime::{Cache, CacheConfig, Engine};

use crate::component::builtin;
use host_config::PolicyEngine;
use host_events::{Event, Events};

pub use crate::compile::parent::COMMAND;
use crate::compile::parent::{ChildOptions, CompileFailure};
pub use child::compile_as_child;

/// Bytes of compiled code that are kept; what was used longest ago goes first.
const KEPT: u64 = 512 << 20;

/// Which process compiles code from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiler {
    /// A child of this process's executable, which must be `posthouse`. Needs a cache.
    Child,
    /// This one: right for commands that end soon.
    Here,
}

/// The cache of compiled code in `folder`.
pub(super) fn open_cache(folder: &Path) -> wasmtime::Result<Cache> {
    let mut settings = CacheConfig::new();
    settings.with_directory(folder).with_files_total_size_soft_limit(KEPT);
    Cache::new(settings)
}

/// Compiles for one engine.
pub(super) struct Compiling {
    engine: Engine,
    /// None compiles everything here.
    outside: Option<Outside>,
}

struct Outside {
    cache: Cache,
    order: ChildOptions,
    events: Events,
    /// One child at a time, so that their memory does not add up and a hit can be told.
    turn: Mutex<()>,
}

impl Compiling {
    /// `cache` is the one that `engine` uses.
    pub(super) fn new(
        engine: Engine,
        settings: &PolicyEngine,
        cache: Option<(Cache, PathBuf)>,
        compiler: Compiler,
        events: &Events,
    ) -> Self {
        let outside = cache
            .filter(|_| compiler == Compiler::Child)
            .map(|(cache, folder)| Outside {
                cache,
                order: ChildOptions {
                    cache: folder,
                    memory: settings.compile_memory,
                    time: settings.compile_time,
                },
                events: events.clone(),
                turn: Mutex::new(()),
            });
        Self { engine, outside }
    }

    /// Compiles, or finds what was compiled before. Errors say what an operator can do.
    pub(super) async fn component(&self, bytes: Arc<[u8]>, digest: &str) -> Result<Component, String> {
        match &self.outside {
            Some(outside) if !builtin::carries(&bytes) => outside.component(&self.engine, bytes, digest).await,
            _ => here(&self.engine, bytes).await,
        }
    }
}

impl Outside {
    async fn component(&self, engine: &Engine, bytes: Arc<[u8]>, digest: &str) -> Result<Component, String> {
        let _turn = self.turn.lock().await;
        let folder = self.order.cache.clone();
        let tidied = tokio::task::spawn_blocking(move || cache::tidy(&folder, KEPT)).await;
        if let Ok(Err(error)) = tidied {
            tracing::warn!(%error, "the cache of compiled policies could not be tidied up");
        }
        let why = match self.order.carry_out(&bytes).await {
            Ok(()) => "the result was not found in the cache".to_owned(),
            Err(CompileFailure::Refused(text)) => return Err(text),
            Err(CompileFailure::NotStarted(error)) => format!("no process could be started: {error}"),
        };
        let hits = self.cache.cache_hits();
        let component = here(engine, bytes).await?;
        if self.cache.cache_hits() == hits {
            self.events.emit(Event::PolicyCompiledHere {
                digest: digest.to_owned(),
                reason: why,
            });
        }
        Ok(component)
    }
}

/// In this process, on a thread that may block.
async fn here(engine: &Engine, bytes: Arc<[u8]>) -> Result<Component, String> {
    let engine = engine.clone();
    let compiled = tokio::task::spawn_blocking(move || Component::from_binary(&engine, &bytes)).await;
    match compiled {
        Ok(Ok(component)) => Ok(component),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err("the compiler failed; this is a defect of the host".to_owned()),
    }
}
