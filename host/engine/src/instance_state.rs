//! The state of one instance: its limits, its handles and what its calls are answered from.

use std::sync::Arc;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::fault::Abort;
use crate::host_call::HostServices;
use crate::limits::{CpuLimit, MemoryLimit};
use crate::message_view::MessageView;
use crate::wasi::{self, Console};
use host_config::PolicyLimits;
use host_contract::Origin;
use host_events::Events;
use host_mail::Timestamp;

/// Handles an instance may have at once, on both sides.
const HANDLES: usize = 1024;
/// What all instances of one unit of work share.
#[derive(Clone)]
pub struct CallContext {
    /// What policies' calls are answered from.
    pub answers: Arc<dyn HostServices>,
    /// Where `host.log` goes.
    pub events: Events,
    /// The time `host.now` tells.
    pub now: Timestamp,
    /// Session and message that events name.
    pub origin: Origin,
}

/// What a module took of the bounds that hold for a whole unit of work.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    calls: u64,
    pub(super) lines: u32,
}

/// The state of one instance.
pub(super) struct InstanceState {
    pub(super) memory: MemoryLimit,
    pub(super) cpu: CpuLimit,
    pub(super) console: Console,
    pub(super) context: CallContext,
    pub(super) table: ResourceTable,
    pub(super) usage: Usage,
    pub(super) module: Arc<str>,
    limits: PolicyLimits,
    /// Made when the guest first asks for it: most never do. Its clock must not begin again.
    wasi: Option<WasiCtx>,
    asked_wasi: bool,
}

impl InstanceState {
    pub(super) fn new(module: Arc<str>, limits: &PolicyLimits, context: CallContext) -> Self {
        let console = Console::default();
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        Self {
            memory: MemoryLimit::new(limits.memory),
            cpu: CpuLimit::new(limits.cpu),
            wasi: None,
            asked_wasi: false,
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

    /// Whether the guest has called neither the host nor WASI.
    pub(super) fn asked_nothing(&self) -> bool {
        self.usage.calls == 0 && !self.asked_wasi
    }

    /// Of memory and handles it has less than half of what it may have.
    pub(super) fn below_memory_limit(&mut self) -> bool {
        self.memory.used() <= self.limits.memory / 2 && self.table.iter_mut().count() <= HANDLES / 2
    }

    /// It is for something else from here on. What is left of before are the guest's memory and its open handles.
    pub(super) fn begin(&mut self, context: CallContext) {
        self.memory.forget_denied();
        self.console.clear();
        self.asked_wasi = false;
        self.context = context;
        self.usage = Usage::default();
    }

    /// Counts a call of the guest to the host.
    pub(super) fn count(&mut self) -> Result<(), Abort> {
        self.usage.calls += 1;
        if self.usage.calls > self.limits.host_calls {
            return Err(Abort::HostCalls(self.limits.host_calls));
        }
        Ok(())
    }

    pub(super) fn message(&self, handle: &Resource<MessageView>) -> wasmtime::Result<MessageView> {
        Ok(self.table.get(handle)?.clone())
    }
}

impl WasiView for InstanceState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.asked_wasi = true;
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(|| wasi::inert(&self.console)),
            table: &mut self.table,
        }
    }
}
