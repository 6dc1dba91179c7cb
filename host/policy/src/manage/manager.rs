//! What happens to the chain as a whole: it is started, and configured anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Mutex;

use crate::evaluate::chain::{Chain, Module};
use crate::evaluate::evaluation::Core;
use crate::evaluate::staging::{StageEnd, Staging};
use crate::manage::activation_history::{Cause, How};
use crate::manage::activation_store::{ActivationStore, Artifact, Ledger};
use crate::manage::candidate::configured_code;
use crate::manage::desired::{Desired, Ready};
use crate::manage::module_status::Retired;
use crate::manage::preinitialise_task::prepare;
use crate::manage::probation::Probation;
use crate::manage::supervisor::{self, Note};
use crate::services::live_services::LiveServices;
use crate::{ModuleSetup, Policies};
use host_config::{Config, PolicyModule, Problem, RecordMode};
use host_directory::Directory;
use host_engine::compile::Compiler;
use host_engine::generation::Generation;
use host_engine::instance_cache::InstanceCache;
use host_engine::runtime::Runtime;
use host_engine::start_error::StartError;
use host_events::{Event, Events};

/// What stands behind [`Policies`].
pub(crate) struct Inner {
    pub(crate) core: Arc<Core>,
    pub(crate) chain: ArcSwap<Chain>,
    instances: u32,
    prepare_after: Duration,
    pub(crate) store: Option<ActivationStore>,
    /// Replaced, and perhaps still with work.
    pub(crate) retired: std::sync::Mutex<Vec<Retired>>,
    /// Held while the chain is being changed, so that changes are made one after the other.
    pub(crate) ledger: Mutex<Ledger>,
}

impl Policies {
    pub(crate) async fn open(
        config: &Config,
        directory: Arc<dyn Directory>,
        events: Events,
        compiler: Compiler,
    ) -> Result<Self, StartError> {
        let folder = config.data.join("policies");
        let wrong = |error: std::io::Error| StartError(format!("{}: {error}", folder.display()));
        let store = ActivationStore::open(&folder).map_err(wrong)?;
        let (ledger, damage) = store.ledger().map_err(wrong)?;
        let runtime = Runtime::new(&config.policy_engine, Some(&folder.join("cache")), compiler, &events)?;
        let live = LiveServices::new(config, Arc::clone(&directory), Some(&folder), events.clone());
        let core = Core::new(runtime, live, directory, events);
        let inner = Inner::new(config, core, Some(store), ledger);
        if let Some(problem) = damage {
            inner.activations_failed(problem);
        }
        inner.bring_up(config).await;
        let inner = Arc::new(inner);
        supervisor::watch(&inner);
        Ok(Self { inner })
    }

    pub(crate) async fn open_ephemeral(
        config: &Config,
        directory: Arc<dyn Directory>,
        events: Events,
    ) -> Result<Self, Vec<Problem>> {
        let runtime = Runtime::new(&config.policy_engine, None, Compiler::Here, &events)
            .map_err(|error| vec![Problem::new("policy-engine", error.to_string())])?;
        let live = LiveServices::new(config, Arc::clone(&directory), None, events.clone());
        let core = Core::new(runtime, live, directory, events);
        let inner = Inner::new(config, core, None, Ledger::default());
        let (_, problems) = inner.reconfigure(config, &Cause::own(How::Start)).await;
        if problems.is_empty() {
            Ok(Self { inner: Arc::new(inner) })
        } else {
            Err(problems)
        }
    }
}

impl Inner {
    /// With an empty chain.
    pub(crate) fn new(config: &Config, core: Core, store: Option<ActivationStore>, ledger: Ledger) -> Self {
        Self {
            core: Arc::new(core),
            chain: ArcSwap::from_pointee(chain(config, Vec::new())),
            instances: config.policy_engine.instances,
            prepare_after: config.policy_engine.prepare_after,
            store,
            retired: std::sync::Mutex::default(),
            ledger: Mutex::new(ledger),
        }
    }

    /// The chain at start: each module as it was last activated, as it is configured, or as it
    /// last ran, whichever of these is wanted and works.
    async fn bring_up(&self, config: &Config) {
        let mut ledger = self.ledger.lock().await;
        let before = std::mem::take(&mut ledger.modules);
        // A restart ends every trial.
        ledger.previous.clear();
        self.forget_stage(&mut ledger);
        let mut codes = Vec::new();
        let mut modules = Vec::new();
        for (place, configured) in config.policies.iter().enumerate() {
            let desired = Desired {
                key: format!("policy[{place}]"),
                configured,
                code: configured_code(configured).await,
                was: before.get(&configured.name),
                running: None,
            };
            let running = match self.bring_up_module(&desired, &mut ledger).await {
                Ok(ready) => {
                    codes.extend(ready.to_keep());
                    ledger.modules.insert(configured.name.clone(), ready.activated);
                    Ok(ready.generation)
                }
                Err(why) => {
                    // What was active once may work again after another start.
                    let was = desired.was.map(|was| (configured.name.clone(), was.clone()));
                    ledger.modules.extend(was);
                    Err(why)
                }
            };
            modules.push(module(configured, running));
        }
        ledger.forget_others(&names(config));
        if let Err(problem) = self.keep(&ledger, codes).await {
            self.activations_failed(problem);
        }
        let chain = chain(config, modules);
        prepare(&self.core, &chain, self.prepare_after);
        self.chain.store(Arc::new(chain));
    }

    async fn bring_up_module(&self, desired: &Desired<'_>, ledger: &mut Ledger) -> Result<Ready, String> {
        let policy = &desired.configured.name;
        let mut failures: Vec<String> = Vec::new();
        let cause = Cause::own(How::Start);
        for attempt in desired.attempts() {
            match self.build(desired, &attempt, &cause, ledger).await {
                Ok(mut ready) => {
                    self.announce(&ready.generation);
                    ledger.remember(policy, &ready.activated, None);
                    if failures.is_empty() {
                        return Ok(ready);
                    }
                    self.core.events.emit(Event::PolicyRestored {
                        policy: policy.clone(),
                        digest: ready.generation.candidate.code.digest.clone(),
                        reason: failures.join("; "),
                    });
                    // The record stays as it is: what was wanted is tried again at the next start.
                    if let Some(was) = desired.was {
                        ready.activated = was.clone();
                    }
                    return Ok(ready);
                }
                Err(problems) => {
                    self.refused(policy, desired.digest(&attempt), &cause.by, &problems);
                    failures.extend(problems.iter().map(ToString::to_string));
                }
            }
        }
        let error = failures.join("; ");
        self.core.events.emit(Event::PolicyUnavailable {
            policy: policy.clone(),
            error: error.clone(),
        });
        Err(error)
    }

    /// See [`Policies::setup`].
    pub(crate) fn setup(&self, name: Option<&str>) -> Result<ModuleSetup, Vec<Problem>> {
        let chain = self.chain.load();
        let place = find(&chain, name)?;
        let module = chain.modules.get(place);
        let Some(Ok(generation)) = module.map(|module| module.running.as_ref()) else {
            return Err(vec![Problem::new("module", "it cannot run")]);
        };
        let candidate = &generation.candidate;
        Ok(ModuleSetup {
            module: candidate.module.to_string(),
            code: STANDARD.encode(&candidate.code.bytes),
            digest: candidate.code.digest.clone(),
            generation: generation.number,
            settings: candidate.settings.clone(),
            grants: candidate.grants.clone(),
            limits: candidate.limits.clone(),
        })
    }

    /// See [`Policies::reconfigure`]. The chain changes as a whole or not at all.
    pub(crate) async fn reconfigure(&self, config: &Config, cause: &Cause) -> (Vec<String>, Vec<Problem>) {
        let mut ledger = self.ledger.lock().await;
        let chain_before = self.chain.load_full();
        let (mut next, mut codes, mut modules, mut problems) = (ledger.clone(), Vec::new(), Vec::new(), Vec::new());
        next.modules.clear();
        for (place, configured) in config.policies.iter().enumerate() {
            let desired = Desired {
                key: format!("policy[{place}]"),
                configured,
                code: configured_code(configured).await,
                was: ledger.modules.get(&configured.name),
                running: running(&chain_before, &configured.name),
            };
            let attempt = desired.wanted();
            match self.build(&desired, &attempt, cause, &mut next).await {
                Ok(ready) => {
                    codes.extend(ready.to_keep());
                    let limits = &config.policy_engine.probation;
                    let probation = Probation::after_reload(limits, &chain_before, configured, &ready, desired.was);
                    // One that began before goes on.
                    let restores = probation.as_ref().map(|probation| probation.restores.clone());
                    next.previous
                        .extend(restores.map(|restores| (configured.name.clone(), restores)));
                    next.remember(&configured.name, &ready.activated, None);
                    next.modules.insert(configured.name.clone(), ready.activated);
                    modules.push(Module {
                        probation,
                        ..module(configured, Ok(ready.generation))
                    });
                }
                Err(found) => {
                    self.refused(&configured.name, desired.digest(&attempt), &cause.by, &found);
                    problems.extend(found.into_iter().map(|problem| placed(&desired.key, problem)));
                }
            }
        }
        next.forget_others(&names(config));
        let chain_after = chain(config, modules).carry_on(&chain_before);
        if chain_after.staging.is_none() {
            next.staged = None;
        }
        next.previous.retain(|name, _| {
            chain_after
                .modules
                .iter()
                .any(|module| *name == *module.name && module.probation.is_some())
        });
        if problems.is_empty()
            && let Err(problem) = self.keep(&next, codes).await
        {
            problems.push(Problem::new("policy", problem));
        }
        if !problems.is_empty() {
            return (Vec::new(), problems);
        }
        *ledger = next;
        if let Some(live) = &self.core.live {
            live.configure(config);
        }
        let changed = self.changes(&chain_before, &chain_after);
        self.publish(chain_after, StageEnd::Replaced, &cause.by);
        if config.policy_engine.instances != self.instances {
            let text = format!("{} until the host is started again", self.instances);
            problems.push(Problem::new("policy-engine.instances", text));
        }
        (changed, problems)
    }

    /// In words, and announced.
    fn changes(&self, before: &Chain, after: &Chain) -> Vec<String> {
        let mut changed = Vec::new();
        for module in &after.modules {
            let (Ok(now), was) = (&module.running, running(before, &module.name)) else {
                continue;
            };
            match was {
                Some(was) if was.number == now.number => continue,
                Some(was) => changed.push(format!(
                    "policy {}: generation {} instead of {}",
                    module.name, now.number, was.number
                )),
                None => changed.push(format!("policy {}: generation {}", module.name, now.number)),
            }
            self.announce(now);
        }
        let names = |chain: &Chain| {
            chain
                .modules
                .iter()
                .map(|module| Arc::clone(&module.name))
                .collect::<Vec<_>>()
        };
        let (old, new) = (names(before), names(after));
        let gone = old.iter().filter(|name| !new.contains(name));
        changed.extend(gone.map(|name| format!("policy {name}: no longer asked")));
        if old
            .iter()
            .filter(|name| new.contains(name))
            .ne(new.iter().filter(|name| old.contains(name)))
        {
            changed.push(format!("policies are asked in the order {}", new.join(", ")));
        }
        if before.faults != after.faults {
            changed.push("what a fault does".to_owned());
        }
        if recorded(before, after) != recorded(after, before) {
            changed.push("what is recorded of decisions".to_owned());
        }
        let stateless = |chain: &Chain| -> Vec<_> {
            let modules = chain.modules.iter();
            modules
                .map(|module| (Arc::clone(&module.name), module.configured.stateless))
                .collect()
        };
        let (old, new) = (stateless(before), stateless(after));
        let other = |(name, now): &&(Arc<str>, _)| old.iter().any(|(same, was)| same == name && was != now);
        changed.extend(
            new.iter()
                .filter(other)
                .map(|(name, _)| format!("policy {name}: stateless")),
        );
        if before.probation != after.probation {
            changed.push("policy-engine.probation".to_owned());
        }
        if before.shadow_cpu != after.shadow_cpu {
            changed.push("policy-engine.shadow-cpu".to_owned());
        }
        if before.wait != after.wait {
            changed.push(format!("policy-engine.wait: {} ms", after.wait.as_millis()));
        }
        changed
    }

    /// Makes code and ledger durable. Nothing is written without a store.
    pub(crate) async fn keep(&self, ledger: &Ledger, codes: Vec<(String, Artifact)>) -> Result<(), String> {
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

    /// Puts a chain in force. What began before goes on with the chain it began with.
    pub(crate) fn publish(&self, next: Chain, end: StageEnd, by: &str) {
        let before = self.chain.load_full();
        let next = Arc::new(next);
        self.chain.store(Arc::clone(&next));
        before.idle.close();
        prepare(&self.core, &next, self.prepare_after);
        self.retire(&before, &next);
        let same = |one: &Arc<Staging>| next.staging.as_ref().is_some_and(|other| Arc::ptr_eq(one, other));
        if let Some(staging) = before.staging.as_ref().filter(|staging| !same(staging)) {
            self.stage_ended(staging, end, by);
        }
        self.core.notes.leave(Note::Changed);
    }

    pub(crate) fn announce(&self, generation: &Generation) {
        self.core.events.emit(Event::PolicyActivated {
            policy: generation.candidate.module.to_string(),
            version: generation.description.version.clone(),
            digest: generation.candidate.code.digest.clone(),
            generation: generation.number,
            by: generation.candidate.by.clone(),
        });
    }

    pub(crate) fn refused(&self, policy: &str, digest: String, by: &str, problems: &[Problem]) {
        self.core.events.emit(Event::PolicyRefused {
            policy: policy.to_owned(),
            digest,
            by: by.to_owned(),
            problems: problems.iter().map(ToString::to_string).collect(),
        });
    }

    fn activations_failed(&self, problem: String) {
        self.core.events.emit(Event::ReloadFailed {
            what: "policy activations".to_owned(),
            problems: vec![problem],
        });
    }
}

/// Of the configured modules.
fn names(config: &Config) -> Vec<&str> {
    config.policies.iter().map(|module| module.name.as_str()).collect()
}

pub(crate) fn chain(config: &Config, modules: Vec<Module>) -> Chain {
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

pub(crate) fn module(configured: &PolicyModule, running: Result<Arc<Generation>, String>) -> Module {
    Module {
        name: configured.name.as_str().into(),
        configured: configured.clone(),
        running,
        probation: None,
    }
}

/// What records keep, by modules that are in the other chain, too.
fn recorded<'a>(chain: &'a Chain, other: &Chain) -> (u64, BTreeMap<&'a str, RecordMode>) {
    let in_both = |module: &&Module| other.modules.iter().any(|it| it.name == module.name);
    let modules = chain.modules.iter().filter(in_both);
    let modes = modules.map(|module| (&*module.name, module.configured.record));
    (chain.recorded_body, modes.collect())
}

fn running(chain: &Chain, name: &str) -> Option<Arc<Generation>> {
    let module = chain.modules.iter().find(|module| &*module.name == name)?;
    module.running.as_ref().ok().cloned()
}

/// The module's place; without a name it must be the only one.
pub(crate) fn find(chain: &Chain, name: Option<&str>) -> Result<usize, Vec<Problem>> {
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

/// Loading what runs already changes nothing.
pub(crate) fn is_the_same(running: Option<&Arc<Generation>>, loaded: &Generation) -> bool {
    running.is_some_and(|running| running.number == loaded.number)
}

fn placed(key: &str, problem: Problem) -> Problem {
    match problem.key.as_str() {
        "" => Problem::new(key, problem.text),
        part => Problem::new(format!("{key}.{part}"), problem.text),
    }
}
