//! The chain as the daemon runs it, on an engine that counts, with a fuse: what the fault table does
//! when a guest ends in the middle of a call.

use std::path::Path;
use std::sync::Arc;

use crate::PolicyManager;
use crate::evaluate::evaluator::Evaluator;
use host_config::{Config, Problem};
use host_directory::Directory;
use host_engine::host_call::HostServices;
use host_engine::runtime::Runtime;
use host_events::Events;

/// Where a guest is stopped.
#[derive(Debug, Clone, Copy)]
pub struct Fuse {
    /// As events have it.
    pub stage: &'static str,
    /// What it may burn before.
    pub fuel: u64,
}

/// A chain whose guests can be stopped.
pub struct FaultInjection {
    /// To be asked as ever.
    pub policies: Arc<PolicyManager>,
}

impl FaultInjection {
    /// With the modules of `config`, and nothing durable. `host` answers policies' calls, and the
    /// host's own. A fuse is in place while the modules are loaded, too.
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

    /// From now on a guest that is asked at the fuse's stage traps when it has burnt its fuel.
    pub fn stop_at(&self, fuse: Fuse) {
        if let Some(meter) = self.policies.runtime().meter() {
            meter.set_fuse(fuse.stage, fuse.fuel);
        }
    }
}
