//! The evaluator: everything that evaluations share, and Event 4037.

use std::sync::Arc;

use crate::evaluate::observer::{NoObserver, Observer};
use host_contract::Origin;
use host_directory::Directory;
use host_engine::fault::Fault;
use host_engine::generation::Candidate;
use host_engine::host_call::HostServices;
use host_engine::instance_state::CallContext;
use host_engine::runtime::Runtime;
use host_events::{Event, Events, PolicyFault};
use host_mail::Timestamp;

/// Parts that all evaluations share.
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

    /// Returns the same without events and observers: for candidates that are only tried.
    pub(crate) fn quiet(&self) -> Self {
        Self {
            runtime: Arc::clone(&self.runtime),
            directory: Arc::clone(&self.directory),
            services: Arc::clone(&self.services),
            events: Events::discard(),
            observer: Arc::new(NoObserver),
        }
    }

    /// Returns the context of calls for a unit of work that begins now.
    pub(crate) fn context(&self, origin: Origin) -> CallContext {
        CallContext {
            answers: Arc::clone(&self.services),
            events: self.events.clone(),
            now: Timestamp::now(),
            origin,
        }
    }

    /// Emits Event 4037. A candidate has no number yet: 0.
    pub(crate) fn report(&self, fault: &Fault, site: FaultSite<'_>) {
        self.events.emit(Event::PolicyFault {
            fault: site.describe(fault),
        });
    }
}

/// The place of a fault in the work of the host.
#[derive(Clone, Copy)]
pub(crate) struct FaultSite<'a> {
    pub(crate) candidate: &'a Candidate,
    pub(crate) generation: u64,
    pub(crate) stage: &'a str,
    pub(crate) origin: Origin,
    pub(crate) instead: &'a str,
}

impl FaultSite<'_> {
    /// Returns the fault as Event 4037 has it.
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
        }
    }
}
