//! An instance of a module. Every call into a guest is made here: bounded in time and caught.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use wasmtime::component::{self, ComponentNamedList, Lift, Resource};
use wasmtime::{AsContext as _, Store, StoreContext, UpdateDeadline, format_err};

use super::bindings::exports::posthouse::policy::lifecycle;
use super::bindings::posthouse::policy::types;
use super::core_dump::CoreDumps;
use super::exports::{ExemptionExport, HomingExport, LifecycleExport, NdrExport};
use super::fault::{self, CallEnd, CallFailed, Fault};
use super::generation::{Candidate, Code};
use crate::abort::Abort;
use crate::component::Role;
use crate::instance_state::{CallContext, InstanceState, Usage};
use crate::message_view::MessageView;
use crate::runtime::Runtime;
use crate::to_wit::Parties;
use crate::validate::{self, Description, InvalidAnswer, Opinion};
use host_contract::{Admission, Disposition, Plan, Reason, Verdict};
use host_mail::{Envelope, ReversePath};

/// Maximum number of bytes that the host copies out of a guest in a call.
const MAX_RETURNED: usize = 4 * 1024 * 1024;

/// A running component. Must not be called again after a failure.
pub struct Instance {
    module: Arc<str>,
    code: Arc<Code>,
    store: Store<InstanceState>,
    instance: component::Instance,
    exports: TypedExports,
    /// Number of uses: the first, and each time the instance was taken from the cache.
    uses: u32,
    core_dumps: Arc<CoreDumps>,
}

/// Exports whose types were checked, once for each instance.
#[derive(Default)]
struct TypedExports {
    lifecycle: Option<LifecycleExport>,
    exemption: Option<ExemptionExport>,
    homing: Option<HomingExport>,
    ndr: Option<NdrExport>,
}

/// Makes the accessor of an exported interface.
macro_rules! export {
    ($interface:ident, $export:ident) => {
        fn $interface(&mut self) -> Result<$export, CallFailed> {
            if let Some(export) = &self.exports.$interface {
                return Ok(export.clone());
            }
            let loaded = self.code.exports.$interface(&mut self.store, &self.instance);
            let export = self.classified(loaded.map_err(CallEnd::Error))?;
            Ok(self.exports.$interface.insert(export).clone())
        }
    };
}

/// Problems that `configure` reports: key and text of each.
pub(super) type SettingsProblems = Vec<(String, String)>;

impl Instance {
    /// Makes an instance of the candidate's code, not configured yet.
    pub async fn new(runtime: &Runtime, candidate: &Candidate, context: CallContext) -> Result<Self, CallFailed> {
        Self::of(runtime, candidate, Arc::clone(&candidate.code), context).await
    }

    /// Makes an instance of another form of the candidate's code, such as pre-initialised code.
    pub async fn of(
        runtime: &Runtime,
        candidate: &Candidate,
        code: Arc<Code>,
        context: CallContext,
    ) -> Result<Self, CallFailed> {
        let limits = &candidate.limits;
        let host = InstanceState::new(Arc::clone(&candidate.module), limits, context);
        let mut store = Store::new(runtime.engine(), host);
        store.limiter(|host| &mut host.memory);
        store.set_hostcall_fuel(MAX_RETURNED);
        store.epoch_deadline_callback(|mut context| {
            let host = context.data_mut();
            if host.cpu.tick() {
                Ok(UpdateDeadline::Yield(1))
            } else {
                Err(Abort::Cpu(host.limits().cpu).into())
            }
        });
        store.set_epoch_deadline(1);
        refuel(&mut store, runtime.first_fuel());
        match bounded(limits.wall, code.pre.instantiate_async(&mut store)).await {
            Ok(instance) => Ok(Self {
                module: Arc::clone(&candidate.module),
                code,
                store,
                instance,
                exports: TypedExports::default(),
                uses: 1,
                core_dumps: Arc::clone(&candidate.core_dumps),
            }),
            Err(end) => Err(call_failed(
                &end,
                &code,
                &mut store,
                &candidate.module,
                &candidate.core_dumps,
            )),
        }
    }

    export!(lifecycle, LifecycleExport);
    export!(exemption, ExemptionExport);
    export!(homing, HomingExport);
    export!(ndr, NdrExport);

    /// Starts a call with a new budget of guest CPU; returns the limit of wall-clock time.
    fn begin_call(&mut self) -> Duration {
        let host = self.store.data_mut();
        host.cpu.restart();
        let wall = host.limits().wall;
        self.store.set_epoch_deadline(1);
        wall
    }

    fn classified<T>(&mut self, outcome: Result<T, CallEnd>) -> Result<T, CallFailed> {
        outcome.map_err(|end| call_failed(&end, &self.code, &mut self.store, &self.module, &self.core_dumps))
    }

    fn validated<T>(&self, checked: Result<T, InvalidAnswer>) -> Result<T, CallFailed> {
        checked.map_err(|invalid| self.invalid_answer(&invalid))
    }

    /// Makes the fault for an answer that breaks a rule of the contract.
    pub fn invalid_answer(&self, invalid: &InvalidAnswer) -> CallFailed {
        Fault::invalid_answer(invalid, self.store.data().fault_context()).into()
    }

    /// Calls `lifecycle.describe`.
    pub async fn describe(&mut self) -> Result<Description, CallFailed> {
        let wall = self.begin_call();
        let export = self.lifecycle()?;
        let answer = bounded(wall, export.describe.call_async(&mut self.store, ())).await;
        let (description,) = self.classified(answer)?;
        self.validated(validate::description(description))
    }

    /// Calls `lifecycle.configure`; the inner result holds the problems of `settings` that the policy reports.
    pub async fn configure(&mut self, settings: &str) -> Result<Result<(), SettingsProblems>, CallFailed> {
        let wall = self.begin_call();
        let export = self.lifecycle()?;
        let answer = bounded(
            wall,
            export.configure.call_async(&mut self.store, (settings.to_owned(),)),
        )
        .await;
        let pairs = |problems: Vec<lifecycle::Problem>| problems.into_iter().map(|p| (p.key, p.text)).collect();
        let (configured,) = self.classified(answer)?;
        Ok(configured.map_err(pairs))
    }

    /// Checks the types of all exported roles, so that a wrong type shows when a policy is loaded.
    pub fn check_types(&mut self) -> Result<(), CallFailed> {
        for role in self.code.shape.roles.clone() {
            match role {
                Role::Exemption => self.exemption().map(|_| ())?,
                Role::Homing => self.homing().map(|_| ())?,
                Role::Ndr => self.ndr().map(|_| ())?,
            }
        }
        Ok(())
    }

    /// Calls `exemption.admit`.
    pub async fn admit(&mut self, client: &Arc<types::Client>) -> Result<Opinion<Admission>, CallFailed> {
        let wall = self.begin_call();
        let export = self.exemption()?;
        let answer = bounded(wall, export.admit.call_async(&mut self.store, (Arc::clone(client),))).await;
        let (answer,) = self.classified(answer)?;
        self.validated(validate::admission(&self.module, answer))
    }

    /// Calls `homing.check-sender`.
    pub async fn sender(&mut self, parties: &Parties) -> Result<Opinion<Verdict>, CallFailed> {
        let Parties { client, sender } = parties.clone();
        let wall = self.begin_call();
        let export = self.homing()?;
        let answer = bounded(wall, export.check_sender.call_async(&mut self.store, (client, sender))).await;
        let (answer,) = self.classified(answer)?;
        self.validated(validate::decision(&self.module, answer))
    }

    /// Calls `homing.check-recipient`.
    pub async fn recipient(&mut self, parties: &Parties, recipient: &str) -> Result<Opinion<Verdict>, CallFailed> {
        let Parties { client, sender } = parties.clone();
        let wall = self.begin_call();
        let export = self.homing()?;
        let answer = bounded(
            wall,
            export
                .check_recipient
                .call_async(&mut self.store, (client, sender, recipient.to_owned())),
        )
        .await;
        let (answer,) = self.classified(answer)?;
        self.validated(validate::decision(&self.module, answer))
    }

    /// Calls `homing.check-message`; `wit_envelope` is `envelope` in the contract's type.
    pub async fn message(
        &mut self,
        client: &Arc<types::Client>,
        envelope: &Envelope,
        wit_envelope: &Arc<types::Envelope>,
        message: MessageView,
    ) -> Result<Opinion<Disposition>, CallFailed> {
        let wall = self.begin_call();
        let export = self.homing()?;
        let handle = self.store.data_mut().table.push(message);
        let handle = self.classified(handle.map_err(|error| CallEnd::Error(error.into())))?;
        let borrowed = Resource::new_borrow(handle.rep());
        let answer = bounded(
            wall,
            export.check_message.call_async(
                &mut self.store,
                (Arc::clone(client), Arc::clone(wit_envelope), borrowed),
            ),
        )
        .await;
        let (answer,) = self.classified(answer)?;
        // The guest's borrow ended with the call.
        let _ = self.store.data_mut().table.delete(handle);
        self.validated(validate::disposition(&self.module, answer, envelope))
    }

    /// Calls `ndr.plan`.
    pub async fn plan(
        &mut self,
        failure: &Arc<types::Failure>,
        sender: &ReversePath,
    ) -> Result<(Plan, Reason), CallFailed> {
        let wall = self.begin_call();
        let export = self.ndr()?;
        let answer = bounded(wall, export.plan.call_async(&mut self.store, (Arc::clone(failure),))).await;
        let (answer,) = self.classified(answer)?;
        self.validated(validate::plan(&self.module, answer, sender))
    }

    /// Calls a function without parameters of any exported interface, and converts the result with `take`.
    pub(super) async fn read<R, T>(
        &mut self,
        interface: &str,
        function: &str,
        take: impl FnOnce(StoreContext<'_, InstanceState>, R) -> T,
    ) -> Result<T, CallFailed>
    where
        R: Send + Sync + 'static,
        (R,): ComponentNamedList + Lift,
    {
        let wall = self.begin_call();
        // Snapshots copy whole memories.
        self.store.set_hostcall_fuel(usize::MAX);
        let found = self.instance.get_export_index(&mut self.store, None, interface);
        let found = found.and_then(|at| self.instance.get_export_index(&mut self.store, Some(&at), function));
        let found = found.ok_or_else(|| format_err!("there is no {interface}#{function}"));
        let typed = found.and_then(|at| self.instance.get_typed_func::<(), (R,)>(&mut self.store, at));
        let typed = self.classified(typed.map_err(CallEnd::Error))?;
        let answer = bounded(wall, typed.call_async(&mut self.store, ())).await;
        let (value,) = self.classified(answer)?;
        Ok(take(self.store.as_context(), value))
    }

    /// Sets the fuel of the following calls; `None` leaves the fuel as it is.
    pub fn refuel(&mut self, fuel: Option<u64>) {
        refuel(&mut self.store, fuel);
    }

    /// Returns the remaining fuel; `None` without a fuel meter.
    pub fn fuel(&self) -> Option<u64> {
        self.store.get_fuel().ok()
    }

    /// Returns the size of all linear memories, in bytes.
    pub fn memory(&self) -> usize {
        self.store.data().memory.used()
    }

    /// Returns the use of limits that hold for the unit of work.
    pub fn usage(&self) -> Usage {
        self.store.data().usage
    }

    /// True if the instance may be reused: fewer than `max_uses` uses so far, and at most half of the limits
    /// of memory and handles used. Otherwise a limit might be met in the middle of a later message.
    pub(super) fn is_reusable(&mut self, max_uses: u32) -> bool {
        self.uses < max_uses && self.store.data_mut().below_memory_limit()
    }

    /// Starts another use of a cached instance in `context`, with usage reset. The guest's memory stays.
    pub fn serve(&mut self, context: CallContext) {
        self.uses += 1;
        self.store.data_mut().begin(context);
    }

    /// Carries over usage from earlier instances of the same unit of work.
    pub fn restore_usage(&mut self, usage: Usage) {
        self.store.data_mut().usage = usage;
    }

    /// Sets the message that events name.
    pub fn about(&mut self, message: host_mail::MessageId) {
        self.store.data_mut().context.origin.message = Some(message);
    }
}

fn refuel(store: &mut Store<InstanceState>, fuel: Option<u64>) {
    if let Some(fuel) = fuel {
        // Fails only without a fuel meter, where no fuel is needed.
        let _ = store.set_fuel(fuel);
    }
}

/// Classifies the end of a call, and writes a core dump if the operator configured a folder.
fn call_failed(
    end: &CallEnd,
    code: &Code,
    store: &mut Store<InstanceState>,
    module: &str,
    core_dumps: &CoreDumps,
) -> CallFailed {
    let mut failed = fault::classify(end, &code.source_map, store.data().fault_context());
    if let (CallFailed::Fault(fault), CallEnd::Error(error)) = (&mut failed, end) {
        let written = core_dumps.write(module, error, store);
        fault.core_dump = written.map(|path| path.display().to_string());
    }
    failed
}

/// Waits for a guest for at most `wall`; every call passes here. A panic of a host function is caught, and makes the
/// instance unusable.
async fn bounded<T>(wall: Duration, call: impl Future<Output = wasmtime::Result<T>>) -> Result<T, CallEnd> {
    // Pinned here: the future has kilobytes, which every wrapper would move once more.
    let call = pin!(call);
    match tokio::time::timeout(wall, AssertUnwindSafe(call).catch_unwind()).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(error))) => Err(CallEnd::Error(error)),
        Ok(Err(panic)) => Err(CallEnd::Panicked(panic_text(&*panic))),
        Err(_) => Err(CallEnd::TimedOut(wall)),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}
