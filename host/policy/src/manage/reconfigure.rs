//! The chain as a whole: brought up at a start, and configured anew at a reload.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::evaluate::chain::{Chain, Module};
use crate::manage::activation_history::{Cause, How};
use crate::manage::activation_store::Ledger;
use crate::manage::candidate::configured_code;
use crate::manage::desired::{Desired, Ready, build};
use crate::manage::policy_set::{PolicySet, StageEnd, chain, module, names, running};
use crate::manage::probation::after_reload;
use crate::manage::rollout::forget_stage;
use host_config::{Config, Problem, RecordMode};
use host_events::Event;

/// The chain at start: each module as it was last activated, as it is configured, or as it
/// last ran, whichever of these is wanted and works.
pub(crate) async fn bring_up(set: &PolicySet, config: &Config) {
    let mut ledger = set.ledger.lock().await;
    let before = std::mem::take(&mut ledger.modules);
    // A restart ends every trial.
    ledger.previous.clear();
    forget_stage(set, &mut ledger);
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
        let running = match bring_up_module(set, &desired, &mut ledger).await {
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
    if let Err(problem) = set.keep(&ledger, codes).await {
        set.activations_failed(problem);
    }
    set.begin_with(chain(config, modules));
}

async fn bring_up_module(set: &PolicySet, desired: &Desired<'_>, ledger: &mut Ledger) -> Result<Ready, String> {
    let policy = &desired.configured.name;
    let mut failures: Vec<String> = Vec::new();
    let cause = Cause::own(How::Start);
    for attempt in desired.attempts() {
        match build(set, desired, &attempt, &cause, ledger).await {
            Ok(mut ready) => {
                set.announce(&ready.generation);
                ledger.remember(policy, &ready.activated, None);
                if failures.is_empty() {
                    return Ok(ready);
                }
                set.evaluator.events.emit(Event::PolicyRestored {
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
                set.refused(policy, desired.digest(&attempt), &cause.by, &problems);
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

/// See [`Policies::reconfigure`]. The chain changes as a whole or not at all.
pub(crate) async fn reconfigure(set: &PolicySet, config: &Config, cause: &Cause) -> (Vec<String>, Vec<Problem>) {
    let mut ledger = set.ledger.lock().await;
    let chain_before = set.chain.load_full();
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
        match build(set, &desired, &attempt, cause, &mut next).await {
            Ok(ready) => {
                codes.extend(ready.to_keep());
                let limits = &config.policy_engine.probation;
                let begun = after_reload(limits, &chain_before, configured, &ready, desired.was, &ledger);
                let (probation, restores) = begun.unzip();
                // A probation that began before goes on, and with it what returns if it fails.
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
                set.refused(&configured.name, desired.digest(&attempt), &cause.by, &found);
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
        && let Err(problem) = set.keep(&next, codes).await
    {
        problems.push(Problem::new("policy", problem));
    }
    if !problems.is_empty() {
        return (Vec::new(), problems);
    }
    *ledger = next;
    let changed = changes(set, &chain_before, &chain_after);
    set.publish(chain_after, StageEnd::Replaced, &cause.by);
    (changed, problems)
}

/// In words, and announced.
fn changes(set: &PolicySet, before: &Chain, after: &Chain) -> Vec<String> {
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
        set.announce(now);
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

/// What records keep, by modules that are in the other chain, too.
fn recorded<'a>(chain: &'a Chain, other: &Chain) -> (u64, BTreeMap<&'a str, RecordMode>) {
    let in_both = |module: &&Module| other.modules.iter().any(|it| it.name == module.name);
    let modules = chain.modules.iter().filter(in_both);
    let modes = modules.map(|module| (&*module.name, module.configured.record));
    (chain.recorded_body, modes.collect())
}

fn placed(key: &str, problem: Problem) -> Problem {
    match problem.key.as_str() {
        "" => Problem::new(key, problem.text),
        part => Problem::new(format!("{key}.{part}"), problem.text),
    }
}
