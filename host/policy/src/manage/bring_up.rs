//! The start: brings up each module with the last activation, the configured code or an earlier generation. Used by the
//! manager.

use crate::manage::activation_history::{Cause, How};
use crate::manage::activation_store::Ledger;
use crate::manage::candidate::configured_code;
use crate::manage::desired::{BuiltGeneration, Desired, build};
use crate::manage::policy_set::{PolicySet, make_chain, make_module, module_names};
use crate::manage::rollout::clear_stage;
use crate::manage::standing_review;
use host_config::Config;
use host_events::Event;

/// Builds and publishes the chain of a start: each module with the last activation, the configured code or the last
/// good generation, in order of preference.
pub(crate) async fn bring_up(set: &PolicySet, config: &Config) {
    let mut ledger = set.ledger.lock().await;
    let before = std::mem::take(&mut ledger.modules);
    // A restart ends every trial.
    ledger.previous.clear();
    ledger.earlier.clear();
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
            keeps_running: false,
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
    standing_review::review(set, &ledger).await;
}

/// Builds the generation of a module, trying each attempt in order: the choices of the operator, then those of the
/// history.
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
            Ok(built) if failures.is_empty() => {
                set.emit_activated(&built.generation);
                ledger.add_to_history(policy, &built.activated, None);
                let replaced = desired.replaced_load(&built.generation);
                if let Some(replaced) = replaced {
                    set.evaluator.events.emit(replaced.into_event());
                }
                return Ok(built);
            }
            Ok(built) => return Ok(restored(set, desired, built, ledger, &failures)),
            Err(problems) => {
                set.emit_refused(policy, desired.digest(&attempt), &cause.by, &problems);
                failures.extend(problems.iter().map(ToString::to_string));
            }
        }
    }
    let earlier = ledger
        .history
        .get(policy)
        .map(|history| desired.earlier_attempts(history));
    for attempt in earlier.unwrap_or_default() {
        if let Ok(built) = build(set, desired, &attempt, &cause, ledger).await {
            return Ok(restored(set, desired, built, ledger, &failures));
        }
    }
    let error = failures.join("; ");
    set.evaluator.events.emit(Event::PolicyUnavailable {
        policy: policy.clone(),
        error: error.clone(),
    });
    Err(error)
}

/// Announces a generation that runs instead of the operator's choice. The ledger keeps the failed choice, which the next
/// start tries again.
fn restored(
    set: &PolicySet,
    desired: &Desired<'_>,
    mut built: BuiltGeneration,
    ledger: &mut Ledger,
    failures: &[String],
) -> BuiltGeneration {
    let policy = &desired.configured.name;
    let (generation, reason) = (&built.generation, failures.join("; "));
    set.emit_activated(generation);
    let (digest, settings) = (&generation.candidate.code.digest, &generation.candidate.settings);
    let history = ledger.history.get(policy);
    if !history.is_some_and(|history| history.ends_with(digest, settings)) {
        ledger.add_to_history(policy, &built.activated, None);
    }
    set.evaluator.events.emit(Event::PolicyRestored {
        policy: policy.clone(),
        digest: digest.clone(),
        reason: reason.clone(),
    });
    let text = format!(
        "generation {} runs instead of the configured policy: {reason}",
        generation.number
    );
    set.set_standing(policy, |standing| standing.refused = Some(text));
    if let Some(was) = desired.last_activation {
        built.activated = was.clone();
    }
    built
}
