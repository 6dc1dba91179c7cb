//! Threads for one stage alone. Within a runtime whoever is ready waits for all others that are, but the kernel shares the
//! processors among threads: a stage that has its own is not kept waiting by what another one has to do.

use std::io;
use std::num::NonZero;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// For half of the processors. What still runs when it is dropped is left behind.
pub(super) struct Threads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Threads {
    /// So called, for whoever looks at a process' threads.
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

    /// Runs the stage.
    pub(super) fn spawn<T: Send + 'static>(&self, stage: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(stage)
    }
}

impl Drop for Threads {
    /// A runtime must not wait for its threads within another one.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
