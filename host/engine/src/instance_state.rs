//! Host-side state of an instance: limits, handles and the context in which calls are answered.

use std::sync::Arc;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::abort::Abort;
use crate::fault::FaultContext;
use crate::host_call::HostServices;
use crate::limits::{CpuLimit, MemoryLimit};
use crate::message_view::MessageView;
use crate::wasi::{self, Console};
use host_config::PolicyLimits;
use host_contract::Origin;
use host_events::Events;
use host_mail::Timestamp;

/// Maximum number of handles that an instance has at once.
const MAX_HANDLES: usize = 1024;

/// The context that all instances of a unit of work share.
#[derive(Clone)]
pub struct CallContext {
    /// Source of answers to policies' calls.
    pub answers: Arc<dyn HostServices>,
    /// Receives the lines of `host.log`.
    pub events: Events,
    /// The time that `host.now` returns.
    pub now: Timestamp,
    /// Session and message named in events.
    pub origin: Origin,
}

/// A module's use of the limits that hold for a whole unit of work.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    calls: u64,
    pub(super) log_lines: u32,
}

/// Data of an instance's store.
pub(super) struct InstanceState {
    pub(super) memory: MemoryLimit,
    pub(super) cpu: CpuLimit,
    pub(super) console: Console,
    pub(super) context: CallContext,
    pub(super) table: ResourceTable,
    pub(super) usage: Usage,
    pub(super) module: Arc<str>,
    limits: PolicyLimits,
    /// Made on the first call to WASI, since most guests make none; then kept, since the monotonic clock must not
    /// restart.
    wasi: Option<WasiCtx>,
}

impl InstanceState {
    pub(super) fn new(module: Arc<str>, limits: &PolicyLimits, context: CallContext) -> Self {
        let console = Console::default();
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Self {
            memory: MemoryLimit::new(limits.memory),
            cpu: CpuLimit::new(limits.cpu),
            wasi: None,
            console,
            context,
            table,
            module,
            limits: limits.clone(),
            usage: Usage::default(),
        }
    }

    pub(super) fn limits(&self) -> &PolicyLimits {
        &self.limits
    }

    /// True if the instance has at most half of the memory and handles that the limits allow.
    pub(super) fn below_memory_limit(&mut self) -> bool {
        self.memory.used() <= self.limits.memory / 2 && self.table.iter_mut().count() <= MAX_HANDLES / 2
    }

    /// Prepares a cached instance for another use in `context`. The guest's memory and open handles remain.
    pub(super) fn begin(&mut self, context: CallContext) {
        self.memory.forget_denied();
        self.console.clear();
        self.context = context;
        self.usage = Usage::default();
    }

    /// Counts a call of the guest to the host.
    ///
    /// # Errors
    /// [`Abort::HostCalls`] above the limit.
    pub(super) fn count_call(&mut self) -> Result<(), Abort> {
        self.usage.calls += 1;
        if self.usage.calls > self.limits.host_calls {
            return Err(Abort::HostCalls(self.limits.host_calls));
        }
        Ok(())
    }

    /// The state that a fault's report quotes.
    pub(super) fn fault_context(&self) -> FaultContext {
        FaultContext {
            stderr: self.console.text(),
            denied: self.memory.denied(),
        }
    }

    /// Returns the message that `handle` refers to.
    pub(super) fn message(&self, handle: &Resource<MessageView>) -> wasmtime::Result<MessageView> {
        Ok(self.table.get(handle)?.clone())
    }
}

impl WasiView for InstanceState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(|| wasi::inert(&self.console)),
            table: &mut self.table,
        }
    }
}
