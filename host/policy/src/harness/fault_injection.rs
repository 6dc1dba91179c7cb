//! Fault injection: the chain of a daemon on an engine that counts fuel, with a fuse that stops a guest in the middle
//! of a call. Shows what the fault table does; used by the tools of authors.

use std::path::Path;
use std::sync::Arc;

use crate::PolicyManager;
use crate::evaluate::evaluator::Evaluator;
use host_config::{Config, Problem};
use host_directory::Directory;
use host_engine::host_call::HostServices;
use host_engine::runtime::Runtime;
use host_events::Events;

/// The point at which a guest is stopped.
#[derive(Debug, Clone, Copy)]
pub struct Fuse {
    /// Stage, as named in events.
    pub stage: &'static str,
    /// Fuel that the guest may burn before the trap.
    pub fuel: u64,
}

/// A chain with guests that can be stopped.
pub struct FaultInjection {
    /// The manager to ask as usual.
    pub policies: Arc<PolicyManager>,
}

impl FaultInjection {
    /// Opens a chain with the modules of `config` and nothing durable. `host` answers the calls of policies and the
    /// lookups of the host. A fuse is in place already while the modules are loaded.
    ///
    /// # Errors
    /// Every problem of a module.
    pub async fn open<H: HostServices + Directory + 'static>(
        config: &Config,
        host: Arc<H>,
        events: Events,
        cache: Option<&Path>,
        fuse: Option<Fuse>,
    ) -> Result<Self, Vec<Problem>> {
        let runtime = Runtime::metered(&config.policy_engine, cache)
            .map_err(|error| vec![Problem::new("policy-engine", error.to_string())])?;
        if let (Some(meter), Some(fuse)) = (runtime.meter(), fuse) {
            meter.set_fuse(fuse.stage, fuse.fuel);
        }
        let evaluator = Evaluator::unobserved(runtime, host.clone(), host, events);
        let policies = PolicyManager::with_evaluator(config, evaluator).await?;
        Ok(Self { policies })
    }

    /// Sets the fuse: a guest that is asked at the stage traps after burning the fuel.
    pub fn stop_at(&self, fuse: Fuse) {
        if let Some(meter) = self.policies.runtime().meter() {
            meter.set_fuse(fuse.stage, fuse.fuel);
        }
    }
}
