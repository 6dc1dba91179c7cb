//! Exported functions of a component, looked up under the version of the contract that the component was built for.
//!
//! Contracts that are served side by side have equal types under equal names (`wit/README.md`), and linking compares
//! the structure of types. Functions of an older contract are called with the types of the newest; only the name of
//! the export differs.

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

// Arguments are shared (`Arc`), so that a typed function can be kept without borrowing from a call's arguments.
type Admit = TypedFunc<(Arc<Client>,), ((exemption::Admission, Because),)>;
type CheckSender = TypedFunc<(Arc<Client>, Arc<ReversePath>), (Decision,)>;
type CheckRecipient = TypedFunc<(Arc<Client>, Arc<ReversePath>, String), (Decision,)>;
type CheckMessage = TypedFunc<(Arc<Client>, Arc<Envelope>, Resource<MessageView>), ((homing::Disposition, Because),)>;
type Plan = TypedFunc<(Arc<Failure>,), ((Vec<ndr::Notice>, Because),)>;

/// Indices of a component's exported functions, looked up once for all instances.
pub(super) struct Exports {
    describe: ComponentExportIndex,
    configure: ComponentExportIndex,
    exemption: Option<ComponentExportIndex>,
    homing: Option<[ComponentExportIndex; 3]>,
    ndr: Option<ComponentExportIndex>,
}

/// Functions of `lifecycle` in an instance.
#[derive(Clone)]
pub(super) struct LifecycleExport {
    pub(super) describe: TypedFunc<(), (lifecycle::Description,)>,
    pub(super) configure: TypedFunc<(String,), (Result<(), Vec<lifecycle::Problem>>,)>,
}

/// Functions of `exemption` in an instance.
#[derive(Clone)]
pub(super) struct ExemptionExport {
    pub(super) admit: Admit,
}

/// Functions of `homing` in an instance.
#[derive(Clone)]
pub(super) struct HomingExport {
    pub(super) check_sender: CheckSender,
    pub(super) check_recipient: CheckRecipient,
    pub(super) check_message: CheckMessage,
}

/// Functions of `ndr` in an instance.
#[derive(Clone)]
pub(super) struct NdrExport {
    pub(super) plan: Plan,
}

impl Exports {
    /// Looks up the functions of `lifecycle` and of every role in `shape`.
    ///
    /// # Errors
    /// A function is missing.
    pub(super) fn find(component: &Component, shape: &Shape) -> wasmtime::Result<Self> {
        let index = |interface: &str, function: &str| -> wasmtime::Result<ComponentExportIndex> {
            let name = shape.contract.interface(interface);
            component
                .get_export_index(None, name.as_str())
                .and_then(|instance| component.get_export_index(Some(&instance), function))
                .ok_or_else(|| format_err!("{name} has no function {function}"))
        };
        let homing = || -> wasmtime::Result<_> {
            Ok([
                index("homing", "check-sender")?,
                index("homing", "check-recipient")?,
                index("homing", "check-message")?,
            ])
        };
        let has = |role| shape.roles.contains(&role);
        Ok(Self {
            describe: index("lifecycle", "describe")?,
            configure: index("lifecycle", "configure")?,
            exemption: has(Role::Exemption).then(|| index("exemption", "admit")).transpose()?,
            homing: has(Role::Homing).then(homing).transpose()?,
            ndr: has(Role::Ndr).then(|| index("ndr", "plan")).transpose()?,
        })
    }

    /// Returns the functions of `lifecycle` after checking their types.
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

    /// Returns the functions of `exemption` after checking their types.
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

    /// Returns the functions of `homing` after checking their types.
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

    /// Returns the functions of `ndr` after checking their types.
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
