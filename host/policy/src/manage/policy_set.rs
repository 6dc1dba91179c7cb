//! The set of policies: owns the current chain, the ledger of activations, the store and the evaluator. Every change of
//! a policy goes through the set; the other files of `manage` are operations on the set.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, Notify};

use crate::evaluate::chain::{Chain, Module};
use crate::evaluate::evaluator::Evaluator;
use crate::evaluate::trial::Staging;
use crate::manage::activation_store::{ActivationStore, Artifact, Ledger};
use crate::manage::preinitialise_task::preinitialise;
use crate::manage::standing::Standing;
use host_config::{Config, PolicyModule, Problem};
use host_engine::generation::Generation;
use host_engine::instance_cache::InstanceCache;
use host_engine::sliding_window::Tally;
use host_events::Event;
use host_mail::Timestamp;
use serde::{Deserialize, Serialize};

/// The policies of a host: the current chain and everything needed to change the chain.
pub(crate) struct PolicySet {
    pub(crate) evaluator: Arc<Evaluator>,
    pub(crate) chain: ArcSwap<Chain>,
    /// Time that a generation must be active before pre-initialisation.
    prepare_after: Duration,
    pub(crate) store: Option<ActivationStore>,
    /// Replaced generations that may still have work.
    retired: parking_lot::Mutex<Vec<Retired>>,
    /// The ledger. Locked while the chain is being changed, so that changes are serialised.
    pub(crate) ledger: Mutex<Ledger>,
    /// Standing of each module.
    standings: parking_lot::Mutex<BTreeMap<String, Standing>>,
    /// Notified when another chain is published.
    pub(crate) changed: Arc<Notify>,
}

/// The reason for the end of a stage.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StageEnd {
    Promoted,
    Cancelled,
    TimeOver,
    Failed(Tally),
    /// The module got another generation, or left the chain.
    Replaced,
    Stopped,
    /// The candidate has no signature that `signed-by` accepts.
    Untrusted,
}

impl StageEnd {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::Cancelled => "cancelled",
            Self::TimeOver => "time-over",
            Self::Failed(_) => "faults",
            Self::Replaced => "replaced",
            Self::Stopped => "stopped",
            Self::Untrusted => "untrusted",
        }
    }
}

/// A replaced generation that still has work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct Draining {
    pub generation: u64,
    pub digest: String,
    /// Time of the replacement.
    pub since: Timestamp,
    pub instances: u64,
    pub units: u64,
    /// Begin of the oldest unfinished unit of work.
    #[serde(default)]
    pub oldest: Option<Timestamp>,
}

/// A replaced generation.
pub(crate) struct Retired {
    module: Arc<str>,
    generation: Weak<Generation>,
    since: Timestamp,
}

impl PolicySet {
    /// Makes a set with an empty chain.
    pub(crate) fn new(config: &Config, evaluator: Evaluator, store: Option<ActivationStore>, ledger: Ledger) -> Self {
        Self {
            evaluator: Arc::new(evaluator),
            chain: ArcSwap::from_pointee(make_chain(config, Vec::new())),
            prepare_after: config.policy_engine.prepare_after,
            store,
            retired: parking_lot::Mutex::default(),
            ledger: Mutex::new(ledger),
            standings: parking_lot::Mutex::default(),
            changed: Arc::default(),
        }
    }

    /// Publishes the first chain of a start.
    pub(crate) fn publish_first(&self, chain: Chain) {
        preinitialise(&self.evaluator, &chain, self.prepare_after);
        self.chain.store(Arc::new(chain));
        self.changed.notify_one();
    }

    /// Makes code and ledger durable. Does nothing without a store.
    pub(crate) async fn persist(&self, ledger: &Ledger, codes: Vec<(String, Artifact)>) -> Result<(), String> {
        let Some(store) = self.store.clone() else {
            return Ok(());
        };
        let ledger = ledger.clone();
        let write = move || {
            for (digest, artifact) in codes {
                store.save_code(&digest, &artifact)?;
            }
            store.save(&ledger)
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("could not be made durable: {error}")),
            Err(error) => Err(format!("could not be made durable: {error}")),
        }
    }

    /// Publishes a chain. Work in progress continues with the chain that the work began with. `end` is the reason if a
    /// stage ends with the change.
    pub(crate) fn publish(&self, next: Chain, end: StageEnd, by: &str) {
        let before = self.chain.load_full();
        let next = Arc::new(next);
        self.chain.store(Arc::clone(&next));
        before.idle.close();
        preinitialise(&self.evaluator, &next, self.prepare_after);
        self.retire(&before, &next);
        let same = |one: &Arc<Staging>| next.staging.as_ref().is_some_and(|other| Arc::ptr_eq(one, other));
        if let Some(staging) = before.staging.as_ref().filter(|staging| !same(staging)) {
            self.emit_stage_end(staging, end, by);
        }
        self.changed.notify_one();
    }

    /// Emits the end of a stage.
    fn emit_stage_end(&self, staging: &Staging, end: StageEnd, by: &str) {
        let generation = &staging.generation;
        let (policy, digest) = (staging.module.to_string(), generation.candidate.code.digest.clone());
        self.evaluator.events.emit(match end {
            StageEnd::Failed(tally) => Event::PolicyStageFailed {
                policy,
                generation: generation.number,
                digest,
                faults: tally.faults,
                calls: tally.calls,
            },
            end => Event::PolicyStageEnded {
                policy,
                generation: generation.number,
                digest,
                why: end.name().to_owned(),
                by: by.to_owned(),
            },
        });
    }

    /// Tracks generations that are no longer in the chain until the last unit of work ends.
    fn retire(&self, before: &Chain, after: &Chain) {
        let now = Timestamp::now();
        let in_force = after.generations();
        let is_in_force = |generation: &Arc<Generation>| in_force.iter().any(|other| Arc::ptr_eq(other, generation));
        let mut retired = self.retired.lock();
        let past = before
            .generations()
            .into_iter()
            .filter(|generation| !is_in_force(generation));
        retired.extend(past.map(|generation| Retired {
            module: Arc::clone(&generation.candidate.module),
            generation: Arc::downgrade(&generation),
            since: now,
        }));
        retired.retain(|retired| {
            let generation = retired.generation.upgrade();
            generation.is_some_and(|generation| !is_in_force(&generation))
        });
    }

    /// Returns the replaced generations of a module that still have work, oldest first.
    pub(crate) fn draining(&self, module: &str) -> Vec<Draining> {
        let retired = self.retired.lock();
        let of_module = retired.iter().filter(|retired| &*retired.module == module);
        let draining = of_module.filter_map(|retired| {
            let generation = retired.generation.upgrade()?;
            let in_hand = generation.counters.in_hand();
            Some(Draining {
                generation: generation.number,
                digest: generation.candidate.code.digest.clone(),
                since: retired.since,
                instances: generation.counters.instances(),
                units: in_hand.units,
                oldest: in_hand.oldest,
            })
        });
        draining
            .filter(|draining| draining.instances > 0 || draining.units > 0)
            .collect()
    }

    /// True if the store has code under this digest.
    pub(crate) fn has_code(&self, digest: &str) -> bool {
        self.store.as_ref().is_some_and(|store| store.contains(digest))
    }

    /// Reads code from the store.
    pub(crate) async fn stored_code(&self, digest: &str) -> Result<Artifact, Vec<Problem>> {
        let problem = |text: String| vec![Problem::new("file", text)];
        let Some(store) = self.store.clone() else {
            return Err(problem("no code was kept".to_owned()));
        };
        let digest = digest.to_owned();
        match tokio::task::spawn_blocking(move || store.code(&digest)).await {
            Ok(Ok(artifact)) => Ok(artifact),
            Ok(Err(error)) => Err(problem(format!("the code that was loaded: {error}"))),
            Err(error) => Err(problem(error.to_string())),
        }
    }

    /// Reads the signature that was stored with code; none without a store, or if the file cannot be read.
    pub(crate) async fn stored_signature(&self, digest: &str) -> Option<String> {
        let store = self.store.clone()?;
        let digest = digest.to_owned();
        let read = tokio::task::spawn_blocking(move || store.signature(&digest)).await;
        read.ok()?.ok()?
    }

    /// Returns the standing of a module.
    pub(crate) fn standing(&self, module: &str) -> Standing {
        self.standings.lock().get(module).cloned().unwrap_or_default()
    }

    /// Changes the standing of a module.
    pub(crate) fn set_standing(&self, module: &str, change: impl FnOnce(&mut Standing)) {
        change(self.standings.lock().entry(module.to_owned()).or_default());
    }

    /// Emits Event 5003.
    pub(crate) fn emit_activated(&self, generation: &Generation) {
        self.evaluator.events.emit(Event::PolicyActivated {
            policy: generation.candidate.module.to_string(),
            version: generation.description.version.clone(),
            digest: generation.candidate.code.digest.clone(),
            generation: generation.number,
            by: generation.candidate.by.clone(),
        });
    }

    /// Emits Event 5004.
    pub(crate) fn emit_refused(&self, policy: &str, digest: String, by: &str, problems: &[Problem]) {
        self.evaluator.events.emit(Event::PolicyRefused {
            policy: policy.to_owned(),
            digest,
            by: by.to_owned(),
            problems: problems.iter().map(ToString::to_string).collect(),
        });
    }

    /// Emits Event 5012: the store of activations failed.
    pub(crate) fn emit_store_failed(&self, problem: String) {
        self.evaluator.events.emit(Event::ReloadFailed {
            what: "policy activations".to_owned(),
            problems: vec![problem],
        });
    }
}

/// Returns the names of the configured modules.
pub(crate) fn module_names(config: &Config) -> Vec<&str> {
    config.policies.iter().map(|module| module.name.as_str()).collect()
}

/// Builds a chain of modules with the terms of a configuration, without a stage.
pub(crate) fn make_chain(config: &Config, modules: Vec<Module>) -> Chain {
    Chain {
        modules,
        faults: config.faults,
        wait: config.policy_engine.wait,
        recorded_body: config.decisions.body,
        probation: config.policy_engine.probation.clone(),
        shadow_cpu: config.policy_engine.shadow_cpu,
        staging: None,
        idle: InstanceCache::default(),
    }
}

/// Builds a module without a probation.
pub(crate) fn make_module(configured: &PolicyModule, running: Result<Arc<Generation>, String>) -> Module {
    Module {
        name: configured.name.as_str().into(),
        configured: configured.clone(),
        running,
        probation: None,
    }
}

/// Returns the active generation of a module.
pub(crate) fn running_generation(chain: &Chain, name: &str) -> Option<Arc<Generation>> {
    let module = chain.modules.iter().find(|module| &*module.name == name)?;
    module.running.as_ref().ok().cloned()
}

/// Returns the position of a module. Without a name, the module must be the only module of the chain.
pub(crate) fn find_module(chain: &Chain, name: Option<&str>) -> Result<usize, Vec<Problem>> {
    let names = chain
        .modules
        .iter()
        .map(|module| &*module.name)
        .collect::<Vec<_>>()
        .join(", ");
    let found = match name {
        Some(name) => chain.modules.iter().position(|module| &*module.name == name),
        None => (chain.modules.len() == 1).then_some(0),
    };
    found.ok_or_else(|| {
        let text = match name {
            _ if chain.modules.is_empty() => "no policy is configured".to_owned(),
            Some(name) => format!("{name:?} is not one of {names}"),
            None => format!("which of {names}?"),
        };
        vec![Problem::new("module", text)]
    })
}

/// True if a load yields the running generation, so that nothing changes.
pub(crate) fn is_same_generation(running: Option<&Arc<Generation>>, loaded: &Generation) -> bool {
    running.is_some_and(|running| running.number == loaded.number)
}
