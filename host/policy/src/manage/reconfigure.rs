//! The chain as a whole: built at a start, and rebuilt at a reload of the configuration. Used by the manager.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::evaluate::chain::{Chain, Module};
use crate::manage::activation_history::{Cause, How};
use crate::manage::activation_store::Ledger;
use crate::manage::candidate::configured_code;
use crate::manage::desired::{BuiltGeneration, Desired, build};
use crate::manage::policy_set::{PolicySet, StageEnd, make_chain, make_module, module_names, running_generation};
use crate::manage::probation::begin_after_reload;
use crate::manage::rollout::clear_stage;
use host_config::{Config, Problem, RecordMode};
use host_events::Event;

/// Builds and publishes the chain of a start: each module with the last activation, the configured code or the last
/// good generation, in order of preference.
pub(crate) async fn bring_up(set: &PolicySet, config: &Config) {
    let mut ledger = set.ledger.lock().await;
    let before = std::mem::take(&mut ledger.modules);
    // A restart ends every trial.
    ledger.previous.clear();
    clear_stage(set, &mut ledger);
    let mut codes = Vec::new();
    let mut modules = Vec::new();
    for (position, configured) in config.policies.iter().enumerate() {
        let desired = Desired {
            key: format!("policy[{position}]"),
            configured,
            code: configured_code(configured).await,
            last_activation: before.get(&configured.name),
            running: None,
        };
        let running = match bring_up_module(set, &desired, &mut ledger).await {
            Ok(built) => {
                codes.extend(built.code_to_store());
                ledger.modules.insert(configured.name.clone(), built.activated);
                Ok(built.generation)
            }
            Err(why) => {
                // The activation is kept: a later start may succeed with the same activation.
                let last = desired
                    .last_activation
                    .map(|was| (configured.name.clone(), was.clone()));
                ledger.modules.extend(last);
                Err(why)
            }
        };
        modules.push(make_module(configured, running));
    }
    ledger.retain_modules(&module_names(config));
    if let Err(problem) = set.persist(&ledger, codes).await {
        set.emit_store_failed(problem);
    }
    set.publish_first(make_chain(config, modules));
}

/// Builds the generation of a module, trying each attempt in order.
async fn bring_up_module(
    set: &PolicySet,
    desired: &Desired<'_>,
    ledger: &mut Ledger,
) -> Result<BuiltGeneration, String> {
    let policy = &desired.configured.name;
    let mut failures: Vec<String> = Vec::new();
    let cause = Cause::automatic(How::Start);
    for attempt in desired.attempts() {
        match build(set, desired, &attempt, &cause, ledger).await {
            Ok(mut built) => {
                set.emit_activated(&built.generation);
                ledger.add_to_history(policy, &built.activated, None);
                if failures.is_empty() {
                    return Ok(built);
                }
                set.evaluator.events.emit(Event::PolicyRestored {
                    policy: policy.clone(),
                    digest: built.generation.candidate.code.digest.clone(),
                    reason: failures.join("; "),
                });
                // The ledger keeps the failed choice, which the next start tries again.
                if let Some(was) = desired.last_activation {
                    built.activated = was.clone();
                }
                return Ok(built);
            }
            Err(problems) => {
                set.emit_refused(policy, desired.digest(&attempt), &cause.by, &problems);
                failures.extend(problems.iter().map(ToString::to_string));
            }
        }
    }
    let error = failures.join("; ");
    set.evaluator.events.emit(Event::PolicyUnavailable {
        policy: policy.clone(),
        error: error.clone(),
    });
    Err(error)
}

/// See [`crate::PolicyManager::reconfigure`]. The chain changes as a whole or not at all.
pub(crate) async fn reconfigure(set: &PolicySet, config: &Config, cause: &Cause) -> (Vec<String>, Vec<Problem>) {
    let mut ledger = set.ledger.lock().await;
    let chain_before = set.chain.load_full();
    let (mut next, mut codes, mut modules, mut problems) = (ledger.clone(), Vec::new(), Vec::new(), Vec::new());
    next.modules.clear();
    for (position, configured) in config.policies.iter().enumerate() {
        let desired = Desired {
            key: format!("policy[{position}]"),
            configured,
            code: configured_code(configured).await,
            last_activation: ledger.modules.get(&configured.name),
            running: running_generation(&chain_before, &configured.name),
        };
        let attempt = desired.preferred_attempt();
        match build(set, &desired, &attempt, cause, &mut next).await {
            Ok(built) => {
                codes.extend(built.code_to_store());
                let limits = &config.policy_engine.probation;
                let begun = begin_after_reload(
                    limits,
                    &chain_before,
                    configured,
                    &built,
                    desired.last_activation,
                    &ledger,
                );
                let (probation, restores) = begun.unzip();
                // A probation that began before continues, together with the activation that a rollback restores.
                next.previous
                    .extend(restores.map(|restores| (configured.name.clone(), restores)));
                next.add_to_history(&configured.name, &built.activated, None);
                next.modules.insert(configured.name.clone(), built.activated);
                modules.push(Module {
                    probation,
                    ..make_module(configured, Ok(built.generation))
                });
            }
            Err(found) => {
                set.emit_refused(&configured.name, desired.digest(&attempt), &cause.by, &found);
                problems.extend(found.into_iter().map(|problem| with_prefix(&desired.key, problem)));
            }
        }
    }
    next.retain_modules(&module_names(config));
    let chain_after = make_chain(config, modules).carry_over_trials(&chain_before);
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
        && let Err(problem) = set.persist(&next, codes).await
    {
        problems.push(Problem::new("policy", problem));
    }
    if !problems.is_empty() {
        return (Vec::new(), problems);
    }
    *ledger = next;
    let changed = describe_changes(set, &chain_before, &chain_after);
    set.publish(chain_after, StageEnd::Replaced, &cause.by);
    (changed, problems)
}

/// Describes the changes in words, and emits Event 5003 for each new generation.
fn describe_changes(set: &PolicySet, before: &Chain, after: &Chain) -> Vec<String> {
    let mut changed = Vec::new();
    for module in &after.modules {
        let (Ok(now), was) = (&module.running, running_generation(before, &module.name)) else {
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
        set.emit_activated(now);
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
    if recording(before, after) != recording(after, before) {
        changed.push("what is recorded of decisions".to_owned());
    }
    let stateless = |chain: &Chain| -> Vec<_> {
        let modules = chain.modules.iter();
        modules
            .map(|module| (Arc::clone(&module.name), module.configured.stateless))
            .collect()
    };
    let (old, new) = (stateless(before), stateless(after));
    let changed_module = |(name, now): &&(Arc<str>, _)| old.iter().any(|(same, was)| same == name && was != now);
    changed.extend(
        new.iter()
            .filter(changed_module)
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

/// Returns the recording settings of the modules that are in both chains.
fn recording<'a>(chain: &'a Chain, other: &Chain) -> (u64, BTreeMap<&'a str, RecordMode>) {
    let in_both = |module: &&Module| other.modules.iter().any(|same| same.name == module.name);
    let modules = chain.modules.iter().filter(in_both);
    let modes = modules.map(|module| (&*module.name, module.configured.record));
    (chain.recorded_body, modes.collect())
}

/// Adds the module's key to a problem's key.
fn with_prefix(key: &str, problem: Problem) -> Problem {
    match problem.key.as_str() {
        "" => Problem::new(key, problem.text),
        part => Problem::new(format!("{key}.{part}"), problem.text),
    }
}
