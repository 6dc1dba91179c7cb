//! The evaluator: the parts that all evaluations share, and the report of faults (Event 4037). Owned by the set of
//! policies, the replay and the harness.

use std::sync::Arc;

use crate::evaluate::observer::{NoObserver, Observer};
use host_contract::Origin;
use host_directory::Directory;
use host_engine::fault::{Class, Fault};
use host_engine::generation::Candidate;
use host_engine::host_call::HostServices;
use host_engine::instance_state::CallContext;
use host_engine::runtime::Runtime;
use host_events::{Event, Events, PolicyFault};
use host_mail::Timestamp;

/// The parts that all evaluations share.
pub(crate) struct Evaluator {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) services: Arc<dyn HostServices>,
    pub(crate) events: Events,
    pub(crate) observer: Arc<dyn Observer>,
}

impl Evaluator {
    /// Makes an evaluator that no observer follows.
    pub(crate) fn unobserved(
        runtime: Runtime,
        services: Arc<dyn HostServices>,
        directory: Arc<dyn Directory>,
        events: Events,
    ) -> Self {
        Self {
            runtime: Arc::new(runtime),
            services,
            directory,
            events,
            observer: Arc::new(NoObserver),
        }
    }

    /// Returns an evaluator that emits no events and has no observer, for dry runs and pre-initialisation.
    pub(crate) fn quiet(&self) -> Self {
        Self {
            runtime: Arc::clone(&self.runtime),
            directory: Arc::clone(&self.directory),
            services: Arc::clone(&self.services),
            events: Events::discard(),
            observer: Arc::new(NoObserver),
        }
    }

    /// Returns the call context of a unit of work that begins now.
    pub(crate) fn context(&self, origin: Origin) -> CallContext {
        CallContext {
            answers: Arc::clone(&self.services),
            events: self.events.clone(),
            now: Timestamp::now(),
            origin,
        }
    }

    /// Emits Event 4037. The generation of a candidate that is not loaded is 0.
    pub(crate) fn report(&self, fault: &Fault, site: FaultSite<'_>) {
        self.events.emit(Event::PolicyFault {
            fault: site.describe(fault),
        });
    }
}

/// The context of a fault: policy, generation, stage and unit of work.
#[derive(Clone, Copy)]
pub(crate) struct FaultSite<'a> {
    pub(crate) candidate: &'a Candidate,
    pub(crate) generation: u64,
    pub(crate) stage: &'a str,
    pub(crate) origin: Origin,
    /// Effect of the fault on mail.
    pub(crate) instead: &'a str,
}

impl FaultSite<'_> {
    /// Returns the fault in the form of Event 4037.
    pub(crate) fn describe(&self, fault: &Fault) -> PolicyFault {
        PolicyFault {
            class: fault.class.name().to_owned(),
            policy: self.candidate.module.to_string(),
            digest: self.candidate.code.digest.clone(),
            generation: self.generation,
            stage: self.stage.to_owned(),
            code: fault.code.clone(),
            function: fault.place.function.clone(),
            location: fault.place.location.clone(),
            stderr: fault.stderr.clone(),
            session: self.origin.session.map(|id| id.to_string()),
            message: self.origin.message.map(|id| id.to_string()),
            instead: self.instead.to_owned(),
            core_dump: fault.core_dump.clone(),
            former_class: matches!(fault.class, Class::InvalidAnswer).then(|| "lie".to_owned()),
        }
    }
}
