//! What a component exports, under the version of the contract it was built for.
//!
//! Contracts that are served side by side have the same types where they have the same names
//! (`wit/README.md`), and linking is by the shape of types: the functions of an older contract are
//! called with the types of the newest. What differs is the name they are found under.

use std::sync::Arc;

use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower, Resource, TypedFunc,
};
use wasmtime::{Store, format_err};

use super::bindings::exports::posthouse::policy::{exemption, homing, lifecycle, ndr};
use super::bindings::posthouse::policy::types::{Because, Client, Decision, Envelope, Failure, ReversePath};
use crate::component::{Role, Shape};
use crate::instance_state::InstanceState;
use crate::message_view::MessageView;

/// Arguments are shared, so that a function can be kept without borrowing from one call of it.
type Admit = TypedFunc<(Arc<Client>,), ((exemption::Admission, Because),)>;
type CheckSender = TypedFunc<(Arc<Client>, Arc<ReversePath>), (Decision,)>;
type CheckRecipient = TypedFunc<(Arc<Client>, Arc<ReversePath>, String), (Decision,)>;
type CheckMessage = TypedFunc<(Arc<Client>, Arc<Envelope>, Resource<MessageView>), ((homing::Disposition, Because),)>;
type Plan = TypedFunc<(Arc<Failure>,), ((Vec<ndr::Notice>, Because),)>;

/// Where a component's functions are, found once for all its instances.
pub(super) struct Exports {
    describe: ComponentExportIndex,
    configure: ComponentExportIndex,
    exemption: Option<ComponentExportIndex>,
    homing: Option<[ComponentExportIndex; 3]>,
    ndr: Option<ComponentExportIndex>,
}

/// `lifecycle` of an instance.
#[derive(Clone)]
pub(super) struct LifecycleExport {
    pub(super) describe: TypedFunc<(), (lifecycle::Description,)>,
    pub(super) configure: TypedFunc<(String,), (Result<(), Vec<lifecycle::Problem>>,)>,
}

/// `exemption` of an instance.
#[derive(Clone)]
pub(super) struct ExemptionExport {
    pub(super) admit: Admit,
}

/// `homing` of an instance.
#[derive(Clone)]
pub(super) struct HomingExport {
    pub(super) check_sender: CheckSender,
    pub(super) check_recipient: CheckRecipient,
    pub(super) check_message: CheckMessage,
}

/// `ndr` of an instance.
#[derive(Clone)]
pub(super) struct NdrExport {
    pub(super) plan: Plan,
}

impl Exports {
    /// Finds the functions of every role that `shape` has.
    pub(super) fn find(component: &Component, shape: &Shape) -> wasmtime::Result<Self> {
        let one = |interface: &str, function: &str| -> wasmtime::Result<ComponentExportIndex> {
            let name = shape.contract.interface(interface);
            component
                .get_export_index(None, name.as_str())
                .and_then(|instance| component.get_export_index(Some(&instance), function))
                .ok_or_else(|| format_err!("{name} has no function {function}"))
        };
        let homing = || -> wasmtime::Result<_> {
            Ok([
                one("homing", "check-sender")?,
                one("homing", "check-recipient")?,
                one("homing", "check-message")?,
            ])
        };
        let has = |role| shape.roles.contains(&role);
        Ok(Self {
            describe: one("lifecycle", "describe")?,
            configure: one("lifecycle", "configure")?,
            exemption: has(Role::Exemption).then(|| one("exemption", "admit")).transpose()?,
            homing: has(Role::Homing).then(homing).transpose()?,
            ndr: has(Role::Ndr).then(|| one("ndr", "plan")).transpose()?,
        })
    }

    /// Checks the types against the contract.
    pub(super) fn lifecycle(
        &self,
        store: &mut Store<InstanceState>,
        instance: &Instance,
    ) -> wasmtime::Result<LifecycleExport> {
        Ok(LifecycleExport {
            describe: typed(store, instance, "describe", &self.describe)?,
            configure: typed(store, instance, "configure", &self.configure)?,
        })
    }

    /// Checks the types against the contract.
    pub(super) fn exemption(
        &self,
        store: &mut Store<InstanceState>,
        instance: &Instance,
    ) -> wasmtime::Result<ExemptionExport> {
        let admit = self.exemption.as_ref().ok_or_else(|| missing(Role::Exemption))?;
        Ok(ExemptionExport {
            admit: typed(store, instance, "admit", admit)?,
        })
    }

    /// Checks the types against the contract.
    pub(super) fn homing(
        &self,
        store: &mut Store<InstanceState>,
        instance: &Instance,
    ) -> wasmtime::Result<HomingExport> {
        let [sender, recipient, message] = self.homing.as_ref().ok_or_else(|| missing(Role::Homing))?;
        Ok(HomingExport {
            check_sender: typed(store, instance, "check-sender", sender)?,
            check_recipient: typed(store, instance, "check-recipient", recipient)?,
            check_message: typed(store, instance, "check-message", message)?,
        })
    }

    /// Checks the types against the contract.
    pub(super) fn ndr(&self, store: &mut Store<InstanceState>, instance: &Instance) -> wasmtime::Result<NdrExport> {
        let plan = self.ndr.as_ref().ok_or_else(|| missing(Role::Ndr))?;
        Ok(NdrExport {
            plan: typed(store, instance, "plan", plan)?,
        })
    }
}

fn typed<P, R>(
    store: &mut Store<InstanceState>,
    instance: &Instance,
    name: &str,
    index: &ComponentExportIndex,
) -> wasmtime::Result<TypedFunc<P, R>>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    instance
        .get_typed_func(store, index)
        .map_err(|error| error.context(format!("function {name}")))
}

fn missing(role: Role) -> wasmtime::Error {
    format_err!("{} is not exported", role.interface())
}
