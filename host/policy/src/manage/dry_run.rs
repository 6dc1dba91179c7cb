//! Everything a load does except activating anything.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::LoadRequest;
use crate::evaluate::evaluation::Core;
use crate::manage::activation_history::{Cause, How};
use crate::manage::activation_store::Ledger;
use crate::manage::candidate::{configured_code, fits, validate};
use crate::manage::changes::Changes;
use crate::manage::desired::{Desired, Source};
use crate::manage::manager::{Inner, chain, find, module};
use crate::services::live_services::LiveServices;
use host_config::{Config, Problem};
use host_directory::Directory;
use host_engine::compile::Compiler;
use host_engine::component::inspection::inspect_component;
use host_engine::generation::Generation;
use host_engine::runtime::Runtime;
use host_events::Events;
use host_mail::Timestamp;

/// What would be loaded.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checked {
    /// Module of the chain it was checked for.
    pub module: String,
    /// As the policy calls itself.
    pub name: String,
    /// As the policy calls itself.
    pub version: String,
    /// Of the code: SHA-256, hexadecimal.
    pub digest: String,
    /// The version of the contract it was built for.
    pub contract: String,
    /// What it would be asked.
    pub stages: Vec<String>,
    /// Interfaces it uses; each is granted.
    pub uses: Vec<String>,
    /// The generation that runs and would be replaced.
    pub active: Option<u64>,
    /// What would be different.
    pub changes: Changes,
}

impl Inner {
    /// Without a daemon: the configured modules, none of which runs.
    pub(crate) async fn dry_run_offline(
        config: &Config,
        directory: Arc<dyn Directory>,
        request: LoadRequest,
    ) -> Result<Checked, Vec<Problem>> {
        let runtime = Runtime::new(&config.policy_engine, None, Compiler::Here, &Events::discard())
            .map_err(|error| vec![Problem::new("policy-engine", error.to_string())])?;
        let live = LiveServices::new(config, Arc::clone(&directory), None, Events::discard());
        let core = Core::new(runtime, live, directory, Events::discard());
        let inner = Self::new(config, core, None, Ledger::default());
        let modules = config.policies.iter();
        let modules = modules.map(|configured| module(configured, Err("this is a check".to_owned())));
        inner.chain.store(Arc::new(chain(config, modules.collect())));
        inner.dry_run(request).await
    }

    /// See [`crate::Policies::check`]. Nothing is said in events either.
    pub(crate) async fn dry_run(&self, request: LoadRequest) -> Result<Checked, Vec<Problem>> {
        let chain = self.chain.load_full();
        let place = find(&chain, request.module.as_deref())?;
        let Some(module) = chain.modules.get(place) else {
            return Err(vec![Problem::new("module", "there is no such module")]);
        };
        let running = module.running.as_ref().ok().cloned();
        let desired = Desired {
            key: format!("policy[{place}]"),
            configured: &module.configured,
            code: configured_code(&module.configured).await,
            was: None,
            running: running.clone(),
        };
        let cause = Cause::new(How::Load, request.by.clone(), "");
        let attempt = desired.attempt_to_load(request);
        if let Source::Given(artifact) = &attempt.code {
            fits(artifact.bytes.len(), desired.configured.limits.component_size)
                .map_err(|text| vec![Problem::new("file", text)])?;
        }
        let core = self.core.quiet();
        let (candidate, artifact) = self.candidate(&core, &desired, &attempt, &cause).await?;
        let description = validate(&core, &candidate, &desired.key).await?;
        let contract = match &artifact {
            Some(artifact) => inspect_component(&artifact.bytes)?.contract.join(", "),
            None => String::new(),
        };
        let shape = &candidate.code.shape;
        let stages = shape.roles.iter().map(|role| role.interface().to_owned()).collect();
        let uses = shape.uses.iter().cloned().collect();
        let generation = Generation::new(0, Timestamp::now(), candidate, description);
        Ok(Checked {
            module: module.name.to_string(),
            name: generation.description.name.clone(),
            version: generation.description.version.clone(),
            digest: generation.candidate.code.digest.clone(),
            contract,
            stages,
            uses,
            active: running.as_ref().map(|running| running.number),
            changes: Changes::between(running.as_deref(), &generation),
        })
    }
}
