//! A separate Tokio runtime for one stage (bulkhead). Ready tasks of a runtime wait for each other, while the kernel
//! shares the processors fairly among threads. A stage with threads of its own is therefore not delayed by the load of
//! other stages.

use std::io;
use std::num::NonZero;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// A runtime with a worker thread for every second processor. Drop does not wait: tasks that still run are abandoned.
pub(super) struct StageRuntime {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl StageRuntime {
    /// Starts the runtime. The threads get `name`, which process viewers show.
    pub(super) fn new(name: &str) -> io::Result<Self> {
        let processors = available_parallelism().map_or(1, NonZero::get);
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(processors.div_ceil(2)).thread_name(name);
        let runtime = builder.enable_all().build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// Runs a future on the stage's threads.
    pub(super) fn spawn<T: Send + 'static>(&self, stage: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(stage)
    }
}

impl Drop for StageRuntime {
    /// Shuts the runtime down in the background, since blocking on threads is not allowed within another runtime.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
