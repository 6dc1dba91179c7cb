//! The chain as it stands: an immutable snapshot that a unit of work keeps to its end.

use std::sync::Arc;
use std::time::Duration;

use super::ModuleStatus;
use super::component::Role;
use super::generation::Generation;
use crate::config::{AdmitFault, FaultActions, NdrFault, PolicyModule};
use crate::mail::Timestamp;

/// Modules in the order they are asked.
#[derive(Clone)]
pub(super) struct Chain {
    pub(super) modules: Vec<Module>,
    pub(super) faults: FaultActions,
    /// How long a client's question waits for an instance.
    pub(super) wait: Duration,
    /// Bytes of bodies in records.
    pub(super) recorded_body: u64,
}

/// One module of the chain.
#[derive(Clone)]
pub(super) struct Module {
    pub(super) name: Arc<str>,
    /// As the configuration has it.
    pub(super) configured: PolicyModule,
    /// What runs, or why nothing does.
    pub(super) running: Result<Arc<Generation>, String>,
}

impl Chain {
    /// Every module runs. If one does not, nobody knows what it would have said, and no question
    /// is answered.
    pub(super) fn is_whole(&self) -> bool {
        self.modules.iter().all(|module| module.running.is_ok())
    }

    /// Modules that play a role, with their places in the chain.
    pub(super) fn serving(&self, role: Role) -> impl Iterator<Item = (usize, &Arc<Generation>)> {
        self.modules
            .iter()
            .enumerate()
            .filter_map(|(place, module)| Some((place, module.running.as_ref().ok()?)))
            .filter(move |(_, generation)| generation.serves(role))
    }

    /// What the fault table does about a fault, for Event 4037.
    pub(super) fn instead(&self, role: Role) -> &'static str {
        match (role, self.faults.admit, self.faults.ndr) {
            (Role::Exemption, AdmitFault::NotExempt, _) => "the client is exempt from nothing",
            (Role::Exemption, AdmitFault::Defer, _) => "the client was told 421",
            (Role::Homing, _, _) => "the transaction was deferred with 451",
            (Role::Ndr, _, NdrFault::StandardReport) => "the host's standard report",
            (Role::Ndr, _, NdrFault::Freeze) => "the message was frozen",
        }
    }
}

impl Module {
    pub(super) fn status(&self) -> ModuleStatus {
        let module = self.name.to_string();
        let generation = match &self.running {
            Ok(generation) => generation,
            Err(why) => {
                return ModuleStatus {
                    module,
                    name: String::new(),
                    version: String::new(),
                    contract: String::new(),
                    digest: String::new(),
                    generation: 0,
                    since: Timestamp(0),
                    by: String::new(),
                    origin: String::new(),
                    health: why.clone(),
                    stages: Vec::new(),
                    calls: 0,
                    faults: std::collections::BTreeMap::new(),
                };
            }
        };
        let candidate = &generation.candidate;
        let roles = candidate.code.shape.roles.iter();
        ModuleStatus {
            module,
            name: generation.description.name.clone(),
            version: generation.description.version.clone(),
            contract: candidate.code.shape.contract.to_string(),
            digest: candidate.code.digest.clone(),
            generation: generation.number,
            since: generation.since,
            by: candidate.by.clone(),
            origin: candidate.origin.clone(),
            health: "running".to_owned(),
            stages: roles.map(|role| role.interface().to_owned()).collect(),
            calls: generation.counters.calls(),
            faults: generation
                .counters
                .faults()
                .map(|(class, count)| (class.name().to_owned(), count))
                .collect(),
        }
    }
}
