//! One instance of a module, for one unit of work: every call into a guest is made here, bounded
//! and caught.

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
use super::fault::{Abort, CallEnd, CallFailed, Fault, account};
use super::generation::{Candidate, Code};
use crate::component::Role;
use crate::instance_state::CallContext;
use crate::instance_state::InstanceState;
use crate::instance_state::Usage;
use crate::message_view::MessageView;
use crate::runtime::Runtime;
use crate::to_wit::Parties;
use crate::validate::{self, Description, InvalidAnswer, Opinion};
use host_contract::{Admission, Disposition, Plan, Reason, Verdict};
use host_mail::{Envelope, ReversePath};

/// Bytes the host copies out of a guest in one call.
const RETURNED: usize = 4 * 1024 * 1024;

/// A component that runs. After a failure it must not be called again.
pub struct Instance {
    module: Arc<str>,
    code: Arc<Code>,
    store: Store<InstanceState>,
    instance: component::Instance,
    guests: Stage,
    /// How often it was taken for something.
    served: u32,
    dumps: Arc<CoreDumps>,
}

/// Functions that were looked up: the types are checked once for each instance.
#[derive(Default)]
struct Stage {
    lifecycle: Option<LifecycleExport>,
    exemption: Option<ExemptionExport>,
    homing: Option<HomingExport>,
    ndr: Option<NdrExport>,
}

/// Makes the accessor of one exported interface.
macro_rules! guest {
    ($interface:ident, $guest:ident) => {
        fn $interface(&mut self) -> Result<$guest, CallFailed> {
            if let Some(guest) = &self.guests.$interface {
                return Ok(guest.clone());
            }
            let loaded = self.code.exports.$interface(&mut self.store, &self.instance);
            let guest = self.settle(loaded.map_err(CallEnd::Error))?;
            Ok(self.guests.$interface.insert(guest).clone())
        }
    };
}

/// What `configure` does not like: key and text of each problem.
pub(super) type Complaints = Vec<(String, String)>;

impl Instance {
    /// A fresh instance that has not been configured yet.
    pub async fn new(runtime: &Runtime, candidate: &Candidate, context: CallContext) -> Result<Self, CallFailed> {
        Self::of(runtime, candidate, Arc::clone(&candidate.code), context).await
    }

    /// As [`Self::new`], of the candidate's code in another form.
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
        store.set_hostcall_fuel(RETURNED);
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
                guests: Stage::default(),
                served: 1,
                dumps: Arc::clone(&candidate.core_dumps),
            }),
            Err(ended) => Err(account(
                &ended,
                &code.places,
                &mut store,
                &candidate.module,
                &candidate.core_dumps,
            )),
        }
    }

    guest!(lifecycle, LifecycleExport);
    guest!(exemption, ExemptionExport);
    guest!(homing, HomingExport);
    guest!(ndr, NdrExport);

    /// A fresh budget of guest CPU; returns the budget of time.
    fn begin(&mut self) -> Duration {
        let host = self.store.data_mut();
        host.cpu.restart();
        let wall = host.limits().wall;
        self.store.set_epoch_deadline(1);
        wall
    }

    fn settle<T>(&mut self, outcome: Result<T, CallEnd>) -> Result<T, CallFailed> {
        outcome.map_err(|ended| account(&ended, &self.code.places, &mut self.store, &self.module, &self.dumps))
    }

    fn believe<T>(&self, checked: Result<T, InvalidAnswer>) -> Result<T, CallFailed> {
        checked.map_err(|lie| self.invalid_answer(&lie))
    }

    /// The fault that a lie is.
    pub fn invalid_answer(&self, lie: &InvalidAnswer) -> CallFailed {
        Fault::lie(lie, self.store.data()).into()
    }

    /// `lifecycle.describe`.
    pub async fn describe(&mut self) -> Result<Description, CallFailed> {
        let wall = self.begin();
        let guest = self.lifecycle()?;
        let said = bounded(wall, guest.describe.call_async(&mut self.store, ())).await;
        let (said,) = self.settle(said)?;
        self.believe(validate::description(said))
    }

    /// `lifecycle.configure`.
    pub async fn configure(&mut self, settings: &str) -> Result<Result<(), Complaints>, CallFailed> {
        let wall = self.begin();
        let guest = self.lifecycle()?;
        let answer = bounded(
            wall,
            guest.configure.call_async(&mut self.store, (settings.to_owned(),)),
        )
        .await;
        let complaints = |problems: Vec<lifecycle::Problem>| problems.into_iter().map(|p| (p.key, p.text)).collect();
        let (taken,) = self.settle(answer)?;
        Ok(taken.map_err(complaints))
    }

    /// Looks up every function the module exports, so that a wrong type shows when it is loaded.
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

    /// `exemption.admit`.
    pub async fn admit(&mut self, client: &Arc<types::Client>) -> Result<Opinion<Admission>, CallFailed> {
        let wall = self.begin();
        let guest = self.exemption()?;
        let answer = bounded(wall, guest.admit.call_async(&mut self.store, (Arc::clone(client),))).await;
        let (answer,) = self.settle(answer)?;
        self.believe(validate::admission(&self.module, answer))
    }

    /// `homing.check-sender`.
    pub async fn sender(&mut self, parties: &Parties) -> Result<Opinion<Verdict>, CallFailed> {
        let Parties { client, sender } = parties.clone();
        let wall = self.begin();
        let guest = self.homing()?;
        let answer = bounded(wall, guest.check_sender.call_async(&mut self.store, (client, sender))).await;
        let (answer,) = self.settle(answer)?;
        self.believe(validate::decision(&self.module, answer))
    }

    /// `homing.check-recipient`.
    pub async fn recipient(&mut self, parties: &Parties, recipient: &str) -> Result<Opinion<Verdict>, CallFailed> {
        let Parties { client, sender } = parties.clone();
        let wall = self.begin();
        let guest = self.homing()?;
        let answer = bounded(
            wall,
            guest
                .check_recipient
                .call_async(&mut self.store, (client, sender, recipient.to_owned())),
        )
        .await;
        let (answer,) = self.settle(answer)?;
        self.believe(validate::decision(&self.module, answer))
    }

    /// `homing.check-message`.
    pub async fn message(
        &mut self,
        client: &Arc<types::Client>,
        envelope: &Envelope,
        said: &Arc<types::Envelope>,
        message: MessageView,
    ) -> Result<Opinion<Disposition>, CallFailed> {
        let wall = self.begin();
        let guest = self.homing()?;
        let handle = self.store.data_mut().table.push(message);
        let handle = self.settle(handle.map_err(|error| CallEnd::Error(error.into())))?;
        let lent = Resource::new_borrow(handle.rep());
        let answer = bounded(
            wall,
            guest
                .check_message
                .call_async(&mut self.store, (Arc::clone(client), Arc::clone(said), lent)),
        )
        .await;
        let (answer,) = self.settle(answer)?;
        // The guest's borrow has ended with the call; what it held is no longer needed.
        let _ = self.store.data_mut().table.delete(handle);
        self.believe(validate::disposition(&self.module, answer, envelope))
    }

    /// `ndr.plan`.
    pub async fn plan(
        &mut self,
        failure: &Arc<types::Failure>,
        sender: &ReversePath,
    ) -> Result<(Plan, Reason), CallFailed> {
        let wall = self.begin();
        let guest = self.ndr()?;
        let answer = bounded(wall, guest.plan.call_async(&mut self.store, (Arc::clone(failure),))).await;
        let (answer,) = self.settle(answer)?;
        self.believe(validate::plan(&self.module, answer, sender))
    }

    /// Calls a function of any exported interface that takes nothing.
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
        let wall = self.begin();
        // A memory is larger than anything that is to be copied.
        self.store.set_hostcall_fuel(usize::MAX);
        let found = self.instance.get_export_index(&mut self.store, None, interface);
        let found = found.and_then(|at| self.instance.get_export_index(&mut self.store, Some(&at), function));
        let found = found.ok_or_else(|| format_err!("there is no {interface}#{function}"));
        let typed = found.and_then(|at| self.instance.get_typed_func::<(), (R,)>(&mut self.store, at));
        let typed = self.settle(typed.map_err(CallEnd::Error))?;
        let said = bounded(wall, typed.call_async(&mut self.store, ())).await;
        let (said,) = self.settle(said)?;
        Ok(take(self.store.as_context(), said))
    }

    /// Fuel for what follows, if any is given.
    pub fn refuel(&mut self, ration: Option<u64>) {
        refuel(&mut self.store, ration);
    }

    /// Fuel that is left; none where nothing is counted.
    pub fn fuel(&self) -> Option<u64> {
        self.store.get_fuel().ok()
    }

    /// Bytes of linear memory it has.
    pub fn memory(&self) -> usize {
        self.store.data().memory.used()
    }

    /// Whether all it knows is what it was told: no call of the host, no random number, no time.
    pub fn asked_nothing(&self) -> bool {
        self.store.data().asked_nothing()
    }

    /// What it took of the bounds of its unit of work.
    pub fn usage(&self) -> Usage {
        self.store.data().usage
    }

    /// Whether it may be taken again, where so often is enough. One that has piled up much would meet its limits in the midst of
    /// somebody's mail.
    pub(super) fn is_reusable(&mut self, enough: u32) -> bool {
        self.served < enough && self.store.data_mut().below_memory_limit()
    }

    /// It is taken again, for this. What the policy itself remembers stays.
    pub fn serve(&mut self, context: CallContext) {
        self.served += 1;
        self.store.data_mut().begin(context);
    }

    /// It stands in for one that took this much.
    pub fn restore_usage(&mut self, usage: Usage) {
        self.store.data_mut().usage = usage;
    }

    /// For events: the message became known.
    pub fn about(&mut self, message: host_mail::MessageId) {
        self.store.data_mut().context.origin.message = Some(message);
    }
}

fn refuel(store: &mut Store<InstanceState>, ration: Option<u64>) {
    if let Some(fuel) = ration {
        // It fails only where nothing is counted, and nothing is needed there.
        let _ = store.set_fuel(fuel);
    }
}

/// The one place that waits for a guest. What the host does on its behalf may panic: the unwinding
/// ends here, and with it the instance.
async fn bounded<T>(wall: Duration, call: impl Future<Output = wasmtime::Result<T>>) -> Result<T, CallEnd> {
    // Kilobytes, which every wrapper would move once more.
    let call = pin!(call);
    match tokio::time::timeout(wall, AssertUnwindSafe(call).catch_unwind()).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(error))) => Err(CallEnd::Error(error)),
        Ok(Err(panic)) => Err(CallEnd::Panicked(panic_text(&*panic))),
        Err(_) => Err(CallEnd::Slow(wall)),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}
