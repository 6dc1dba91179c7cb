//! The chain of modules: an immutable snapshot that is replaced as a whole.
//!
//! `manage` builds and publishes chains, `evaluate` reads them: a unit of work keeps the snapshot that was current when
//! the work began.

use std::sync::Arc;
use std::time::Duration;

use crate::evaluate::trial::{Probation, Staging};
use host_config::{AdmitFault, FaultActions, NdrFault, PolicyModule, Share};
use host_engine::component::Role;
use host_engine::generation::Generation;
use host_engine::instance_cache::InstanceCache;

/// A snapshot of all modules, in the order of evaluation.
#[derive(Clone)]
pub(crate) struct Chain {
    pub(crate) modules: Vec<Module>,
    /// Default actions on faults.
    pub(crate) faults: FaultActions,
    /// Longest time that a client's question waits for an instance.
    pub(crate) wait: Duration,
    /// Bytes of a message's body that a record keeps.
    pub(crate) recorded_body: u64,
    /// Terms of the probation of newly loaded generations.
    pub(crate) probation: host_config::ProbationConfig,
    /// Share of a processor that the next shadow may use.
    pub(crate) shadow_cpu: Share,
    /// The staged candidate.
    pub(crate) staging: Option<Arc<Staging>>,
    /// Cache of idle instances; closed when another chain is published.
    pub(crate) idle: InstanceCache,
}

/// A module of the chain.
#[derive(Clone)]
pub(crate) struct Module {
    pub(crate) name: Arc<str>,
    /// The module's section of the configuration.
    pub(crate) configured: PolicyModule,
    /// The active generation, or the reason why the module cannot run.
    pub(crate) running: Result<Arc<Generation>, String>,
    /// Probation of the active generation.
    pub(crate) probation: Option<Arc<Probation>>,
}

impl Chain {
    /// True if every module runs. No question is answered otherwise, because the opinion of the failed module is
    /// unknown.
    pub(crate) fn is_whole(&self) -> bool {
        self.modules.iter().all(|module| module.running.is_ok())
    }

    /// Returns the action on a fault at `admit` of the module at `position`: the module's own action, or else the
    /// default.
    pub(crate) fn on_admit_fault(&self, position: usize) -> AdmitFault {
        let own = self
            .modules
            .get(position)
            .and_then(|module| module.configured.faults.admit);
        own.unwrap_or(self.faults.admit)
    }

    /// Returns the action on a fault at `ndr`, like [`Self::on_admit_fault`].
    pub(crate) fn on_ndr_fault(&self, position: usize) -> NdrFault {
        let own = self
            .modules
            .get(position)
            .and_then(|module| module.configured.faults.ndr);
        own.unwrap_or(self.faults.ndr)
    }

    /// True if instances of `generation` in the module at `position` may be shared between units of work.
    pub(crate) fn is_stateless(&self, position: usize, generation: &Generation) -> bool {
        let module = self.modules.get(position);
        module.is_some_and(|module| module.configured.is_stateless(generation.is_built_in))
    }

    /// Returns every generation that decides: the active generation of each module and the staged candidate.
    pub(crate) fn generations(&self) -> Vec<Arc<Generation>> {
        let running = self.modules.iter().filter_map(|module| module.running.as_ref().ok());
        let staged = self.staging.as_ref().map(|staging| &staging.generation);
        running.chain(staged).map(Arc::clone).collect()
    }

    /// Carries probation and stage over from the chain `before`, for each module with an unchanged generation.
    pub(crate) fn carry_over_trials(mut self, before: &Self) -> Self {
        let same = |one: &Module, other: &Module| match (&one.running, &other.running) {
            (Ok(one), Ok(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        for module in &mut self.modules {
            let Some(was) = before.modules.iter().find(|was| was.name == module.name) else {
                continue;
            };
            if !same(was, module) {
                continue;
            }
            module.probation.clone_from(&was.probation);
            if let Some(staging) = before.staging.as_ref().filter(|staging| staging.module == was.name) {
                self.staging = Some(Arc::clone(staging));
            }
        }
        self
    }

    /// Drops the staged candidate of a module. Called when the module gets another generation.
    pub(crate) fn drop_staging_of(&mut self, module: &str) {
        self.staging.take_if(|staging| &*staging.module == module);
    }

    /// Describes the effect of a fault at `position`, for Event 4037.
    pub(crate) fn fault_effect(&self, role: Role, position: usize) -> &'static str {
        match (role, self.on_admit_fault(position), self.on_ndr_fault(position)) {
            (Role::Exemption, AdmitFault::NotExempt, _) => "the client is exempt from nothing",
            (Role::Exemption, AdmitFault::Defer, _) => "the client was told 421",
            (Role::Homing, _, _) => "the transaction was deferred with 451",
            (Role::Ndr, _, NdrFault::StandardReport) => "the host's standard report",
            (Role::Ndr, _, NdrFault::Freeze) => "the message was frozen",
        }
    }
}
