//! The chain as it stands: an immutable snapshot that a unit of work keeps to its end.

use std::sync::Arc;
use std::time::Duration;

use crate::evaluate::trial::{Probation, Staging};
use host_config::{AdmitFault, FaultActions, NdrFault, PolicyModule, Share};
use host_engine::component::Role;
use host_engine::generation::Generation;
use host_engine::instance_cache::InstanceCache;

/// Modules in the order they are asked.
#[derive(Clone)]
pub(crate) struct Chain {
    pub(crate) modules: Vec<Module>,
    pub(crate) faults: FaultActions,
    /// How long a client's question waits for an instance.
    pub(crate) wait: Duration,
    /// Bytes of bodies in records.
    pub(crate) recorded_body: u64,
    /// What is asked of a generation that is loaded.
    pub(crate) probation: host_config::ProbationConfig,
    /// Of one processor, what the next shadow may take.
    pub(crate) shadow_cpu: Share,
    pub(crate) staging: Option<Arc<Staging>>,
    /// Instances that wait for their next question; they go with the chain.
    pub(crate) idle: InstanceCache,
}

/// One module of the chain.
#[derive(Clone)]
pub(crate) struct Module {
    pub(crate) name: Arc<str>,
    /// As the configuration has it.
    pub(crate) configured: PolicyModule,
    /// What runs, or why nothing does.
    pub(crate) running: Result<Arc<Generation>, String>,
    /// As long as it has to prove itself.
    pub(crate) probation: Option<Arc<Probation>>,
}

impl Chain {
    /// Every module runs. If one does not, nobody knows what it would have said, and no question
    /// is answered.
    pub(crate) fn is_whole(&self) -> bool {
        self.modules.iter().all(|module| module.running.is_ok())
    }

    /// What a fault of the module at this place does at `admit`.
    pub(crate) fn on_admit_fault(&self, place: usize) -> AdmitFault {
        let own = self
            .modules
            .get(place)
            .and_then(|module| module.configured.faults.admit);
        own.unwrap_or(self.faults.admit)
    }

    /// As [`Self::on_admit_fault`], at `ndr`.
    pub(crate) fn on_ndr_fault(&self, place: usize) -> NdrFault {
        let own = self.modules.get(place).and_then(|module| module.configured.faults.ndr);
        own.unwrap_or(self.faults.ndr)
    }

    /// Whether instances of a generation at this place answer whoever asks.
    pub(crate) fn is_stateless(&self, place: usize, generation: &Generation) -> bool {
        let module = self.modules.get(place);
        module.is_some_and(|module| module.configured.is_stateless(generation.is_built_in))
    }

    /// Every generation that decides something.
    pub(crate) fn generations(&self) -> Vec<Arc<Generation>> {
        let running = self.modules.iter().filter_map(|module| module.running.as_ref().ok());
        let staged = self.staging.as_ref().map(|staging| &staging.generation);
        running.chain(staged).map(Arc::clone).collect()
    }

    /// Takes over from the chain before what goes on with a generation that stays.
    pub(crate) fn carry_on(mut self, before: &Self) -> Self {
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

    /// A staged candidate of a module that gets another generation is one of the past.
    pub(crate) fn drop_staging_of(&mut self, module: &str) {
        self.staging.take_if(|staging| &*staging.module == module);
    }

    /// What the fault table does about a fault, for Event 4037.
    pub(crate) fn instead(&self, role: Role, place: usize) -> &'static str {
        match (role, self.on_admit_fault(place), self.on_ndr_fault(place)) {
            (Role::Exemption, AdmitFault::NotExempt, _) => "the client is exempt from nothing",
            (Role::Exemption, AdmitFault::Defer, _) => "the client was told 421",
            (Role::Homing, _, _) => "the transaction was deferred with 451",
            (Role::Ndr, _, NdrFault::StandardReport) => "the host's standard report",
            (Role::Ndr, _, NdrFault::Freeze) => "the message was frozen",
        }
    }
}
