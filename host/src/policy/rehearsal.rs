//! The chain as the daemon runs it, on an engine that counts, with a fuse: what the fault table does
//! when a guest ends in the middle of a call.

use std::path::Path;
use std::sync::Arc;

use super::Policies;
use super::activation::Ledger;
use super::call::Answers;
use super::engine::Runtime;
use super::operate::Inner;
use super::work::Core;
use crate::config::{Config, Problem};
use crate::directory::Directory;
use crate::event::Events;

/// A chain whose guests can be stopped.
pub struct Rehearsal {
    /// To be asked as ever.
    pub policies: Policies,
}

impl Rehearsal {
    /// With the modules of `config`, and nothing durable. Policies' calls are answered from `answers`.
    ///
    /// # Errors
    /// Every problem of a module.
    pub async fn open(
        config: &Config,
        directory: Arc<dyn Directory>,
        answers: Arc<dyn Answers>,
        events: Events,
        cache: Option<&Path>,
    ) -> Result<Self, Vec<Problem>> {
        let runtime = Runtime::metered(&config.policy_engine, cache)
            .map_err(|error| vec![Problem::new("policy-engine", error.to_string())])?;
        let core = Core {
            answers,
            ..Core::new(runtime, directory, events)
        };
        let inner = Inner::new(config, core, None, Ledger::default());
        let (_, problems) = inner.reconfigure(config, "rehearsal").await;
        if !problems.is_empty() {
            return Err(problems);
        }
        let policies = Policies { inner: Arc::new(inner) };
        Ok(Self { policies })
    }

    /// From now on a guest that is asked at `stage` traps when it has burnt `fuel`.
    pub fn stop_at(&self, stage: &str, fuel: u64) {
        if let Some(meter) = self.policies.inner.core.runtime.meter() {
            meter.set_fuse(stage, fuel);
        }
    }

    /// Guests run to their end again.
    pub fn go_on(&self) {
        if let Some(meter) = self.policies.inner.core.runtime.meter() {
            meter.remove_fuse();
        }
    }
}
