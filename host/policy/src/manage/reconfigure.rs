//! The chain as a whole, rebuilt at a reload of the configuration. Used by the manager.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::evaluate::chain::{Chain, Module};
use crate::manage::activation_history::Cause;
use crate::manage::activation_store::{Artifact, Ledger};
use crate::manage::candidate::configured_code;
use crate::manage::desired::{Desired, build};
use crate::manage::policy_set::{PolicySet, make_chain, make_module, module_names, running_generation};
use crate::manage::probation::begin_after_reload;
use crate::manage::replaced_load::ReplacedLoad;
use crate::manage::signers::apply_signers;
use crate::manage::standing_review;
use host_config::{Config, Problem, RecordMode};
use host_events::Event;

/// The result of a reload of the policies.
#[derive(Debug, Default)]
pub struct PolicyReload {
    /// The changes in words.
    pub changed: Vec<String>,
    /// Loads of operators that the configuration replaced, in words.
    pub warnings: Vec<String>,
    /// Problems, already emitted as events.
    pub problems: Vec<Problem>,
    /// True if the chain is that of the configuration.
    pub is_applied: bool,
}

/// Applies a configuration, as [`crate::PolicyManager::reconfigure`] describes. The chain changes as a whole or not at
/// all; the signers of the configuration apply in any case.
pub(crate) async fn reconfigure(set: &PolicySet, config: &Config, cause: &Cause, require_now: bool) -> PolicyReload {
    let mut ledger = set.ledger.lock().await;
    let before = set.chain.load_full();
    let rebuilt = rebuild(set, config, cause, &before, &ledger).await;
    let (mut done, mut replaced) = (PolicyReload::default(), Vec::new());
    let (mut chain, mut next, mut codes) = match rebuilt {
        Ok(rebuilt) => {
            done.warnings = rebuilt.replaced.iter().map(ToString::to_string).collect();
            replaced = rebuilt.replaced;
            (rebuilt.chain, rebuilt.ledger, rebuilt.codes)
        }
        Err(problems) => {
            done.problems = problems;
            (Chain::clone(&before), ledger.clone(), Vec::new())
        }
    };
    done.is_applied = done.problems.is_empty();
    let mut review = apply_signers(set, config, &mut chain, &mut next, require_now).await;
    codes.append(&mut review.codes);
    // A failed write does not keep untrusted code in force.
    if let Err(problem) = set.persist(&next, codes).await {
        done.problems.push(Problem::new("policy", problem));
        done.is_applied = false;
        if review.problems.is_empty() && review.events.is_empty() {
            return done;
        }
    }
    done.problems.append(&mut review.problems);
    *ledger = next;
    done.changed = describe_changes(set, &before, &chain);
    set.publish(chain, review.stage_end, &cause.by);
    let replaced = replaced.into_iter().map(ReplacedLoad::into_event);
    for event in review.events.into_iter().chain(replaced) {
        set.evaluator.events.emit(event);
    }
    if done.is_applied {
        for name in module_names(config) {
            set.set_standing(name, |standing| standing.refused = None);
        }
    }
    standing_review::review(set, &ledger).await;
    done
}

/// A chain for the reloaded configuration, not yet published.
struct RebuiltChain {
    chain: Chain,
    ledger: Ledger,
    codes: Vec<(String, Artifact)>,
    /// Loads of operators that the configuration replaces.
    replaced: Vec<ReplacedLoad>,
}

/// Builds each module of the configuration. Problems are Event 5004; if the problem is the code, the running generation
/// serves instead (5005).
async fn rebuild(
    set: &PolicySet,
    config: &Config,
    cause: &Cause,
    before: &Chain,
    ledger: &Ledger,
) -> Result<RebuiltChain, Vec<Problem>> {
    let (mut next, mut codes, mut modules, mut problems) = (ledger.clone(), Vec::new(), Vec::new(), Vec::new());
    let mut replaced = Vec::new();
    next.modules.clear();
    for (position, configured) in config.policies.iter().enumerate() {
        let desired = Desired {
            key: format!("policy[{position}]"),
            configured,
            code: configured_code(configured).await,
            last_activation: ledger.modules.get(&configured.name),
            running: running_generation(before, &configured.name),
            keeps_running: true,
        };
        let attempt = desired.preferred_attempt();
        match build(set, &desired, &attempt, cause, &mut next).await {
            Ok(built) => {
                codes.extend(built.code_to_store());
                replaced.extend(desired.replaced_load(&built.generation));
                let limits = &config.policy_engine.probation;
                let begun = begin_after_reload(limits, before, configured, &built, desired.last_activation, ledger);
                let (probation, restores) = begun.unzip();
                // A probation that began before continues, together with the activation that a rollback restores.
                if restores.is_some() {
                    next.restore_later(&configured.name, restores);
                }
                next.add_to_history(&configured.name, &built.activated, None);
                next.modules.insert(configured.name.clone(), built.activated);
                modules.push(Module {
                    probation,
                    ..make_module(configured, Ok(built.generation))
                });
            }
            Err(found) => {
                emit_refused(set, &desired, desired.digest(&attempt), cause, &found);
                problems.extend(found.into_iter().map(|problem| with_prefix(&desired.key, problem)));
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    next.retain_modules(&module_names(config));
    let chain = make_chain(config, modules).carry_over_trials(before);
    if chain.staging.is_none() {
        next.staged = None;
    }
    let on_probation = |name: &str| {
        let mut modules = chain.modules.iter();
        modules.any(|module| *name == *module.name && module.probation.is_some())
    };
    next.previous.retain(|name, _| on_probation(name));
    next.earlier.retain(|name, _| on_probation(name));
    Ok(RebuiltChain {
        chain,
        ledger: next,
        codes,
        replaced,
    })
}

/// Emits Event 5004, and 5005 if the running generation serves because the configured code cannot be used.
fn emit_refused(set: &PolicySet, desired: &Desired<'_>, digest: String, cause: &Cause, found: &[Problem]) {
    let policy = &desired.configured.name;
    set.emit_refused(policy, digest, &cause.by, found);
    let Some(running) = &desired.running else {
        return;
    };
    let reason: Vec<String> = found.iter().map(ToString::to_string).collect();
    let reason = reason.join("; ");
    let is_code = |problem: &Problem| ["file", "signature"].contains(&problem.key.as_str());
    if found.iter().any(is_code) {
        set.evaluator.events.emit(Event::PolicyRestored {
            policy: policy.clone(),
            digest: running.candidate.code.digest.clone(),
            reason: reason.clone(),
        });
    }
    let text = format!(
        "generation {} runs instead of the configured policy: {reason}",
        running.number
    );
    set.set_standing(policy, |standing| standing.refused = Some(text));
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
    let signers = |chain: &Chain| -> Vec<_> {
        let modules = chain.modules.iter();
        modules
            .map(|module| (Arc::clone(&module.name), module.configured.signed_by.clone()))
            .collect()
    };
    let old = signers(before);
    let changed_module =
        |(name, now): &&(Arc<str>, Vec<String>)| old.iter().any(|(same, was)| same == name && was != now);
    let new = signers(after);
    changed.extend(
        new.iter()
            .filter(changed_module)
            .map(|(name, _)| format!("policy {name}: signed-by")),
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
