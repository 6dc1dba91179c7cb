//! Probation: the automatic rollback of a new generation that faults too often. The generation that returns has always
//! passed a probation. Begun by activation, promotion and reload; ended by the supervisor.

use std::sync::Arc;
use std::time::Instant;

use crate::evaluate::chain::{Chain, Module};
use crate::evaluate::trial::Probation;
use crate::manage::activation_history::How;
use crate::manage::activation_store::{Activated, Ledger};
use crate::manage::desired::BuiltGeneration;
use crate::manage::policy_set::{PolicySet, StageEnd, is_same_generation};
use crate::manage::standing_review;
use crate::manage::trusted_code::check_code;
use host_config::{PolicyModule, ProbationConfig};
use host_engine::generation::Generation;
use host_engine::sliding_window::Tally;
use host_events::Event;
use host_mail::Timestamp;

/// Actor in events.
const BY: &str = "probation";

/// Begins the probation of a generation that replaces the module's generation. If the replaced generation is on
/// probation too, the last proven generation is the target of a rollback. Returns the probation and the activation that
/// a rollback restores.
pub(crate) fn begin(
    chain: &Chain,
    position: usize,
    new: &Generation,
    was: Option<&Activated>,
    ledger: &Ledger,
) -> Option<(Arc<Probation>, Activated)> {
    let module = chain.modules.get(position)?;
    if is_same_generation(module.running.as_ref().ok(), new) {
        let restores = ledger.previous.get(&*module.name)?;
        return Some((module.probation.clone()?, restores.clone()));
    }
    let (previous, restores) = last_proven(module, was, ledger)?;
    Some((Probation::new(&chain.probation, previous)?, restores.clone()))
}

/// Begins the probation of a generation that a reload brings. `None` if nothing is replaced, or if the new
/// configuration has other grants, limits or signers than the replaced generation: a rollback must not restore old
/// grants.
pub(crate) fn begin_after_reload(
    limits: &ProbationConfig,
    before: &Chain,
    configured: &PolicyModule,
    built: &BuiltGeneration,
    was: Option<&Activated>,
    ledger: &Ledger,
) -> Option<(Arc<Probation>, Activated)> {
    let module = before.modules.iter().find(|module| *module.name == configured.name)?;
    if is_same_generation(module.running.as_ref().ok(), &built.generation) {
        return None;
    }
    let (previous, restores) = last_proven(module, was, ledger)?;
    let candidate = &previous.candidate;
    let may_come_back = candidate.grants == configured.grants
        && candidate.limits == configured.limits
        && module.configured.signed_by == configured.signed_by;
    if !may_come_back || previous.identity == built.generation.identity {
        return None;
    }
    // The restored generation differs from this configuration, and stays until the configuration changes again.
    let restores = Activated {
        code_loaded: restores.code != built.activated.code || built.activated.code_loaded,
        settings_loaded: restores.settings != configured.settings,
        configured: built.activated.configured.clone(),
        ..restores.clone()
    };
    Some((Probation::new(limits, previous)?, restores))
}

/// Returns the last generation of a module that is not on probation, and the activation.
fn last_proven<'a>(
    module: &'a Module,
    was: Option<&'a Activated>,
    ledger: &'a Ledger,
) -> Option<(&'a Arc<Generation>, &'a Activated)> {
    let running = module.running.as_ref().ok()?;
    Some(match &module.probation {
        Some(probation) => (&probation.previous, ledger.previous.get(&*module.name)?),
        None => (running, was?),
    })
}

/// Rolls back to the previous generation, if this probation is still current. Event 5024.
pub(crate) async fn roll_back_failed(set: &PolicySet, probation: &Arc<Probation>, tally: Tally) {
    let mut ledger = set.ledger.lock().await;
    let chain = set.chain.load_full();
    let Some(position) = position_of(&chain, probation) else {
        return;
    };
    let mut next = Chain::clone(&chain);
    let Some(module) = next.modules.get_mut(position) else {
        return;
    };
    let code = &probation.previous.candidate.code;
    let signers = module.configured.signed_by.clone();
    if let Err(problems) = check_code(set, code, &signers, &format!("policy[{position}]"), None).await {
        // The faulting generation stays: the previous generation has no trusted signature any more.
        module.probation = None;
        let digest = probation.previous.candidate.code.digest.clone();
        set.emit_refused(&module.name, digest, BY, &problems);
        ledger.previous.remove(&*module.name);
        set.publish(next, StageEnd::Replaced, BY);
        return;
    }
    let Ok(failed) = std::mem::replace(&mut module.running, Ok(Arc::clone(&probation.previous))) else {
        return;
    };
    module.probation = None;
    let name = module.name.to_string();
    next.drop_staging_of(&name);

    let mut next_ledger = ledger.clone();
    next_ledger.held_back.add(&failed.identity, Timestamp::now());
    let reason = format!("{} faults in {} calls on probation", tally.faults, tally.calls);
    if let Some(restores) = ledger.previous.get(&name) {
        let restored = Activated {
            how: How::Probation,
            by: BY.to_owned(),
            why: reason.clone(),
            since: Timestamp::now(),
            ..restores.clone()
        };
        next_ledger.activate(&name, restored, Some(probation.previous.number), None);
    }
    if next.staging.is_none() {
        next_ledger.staged = None;
    }
    // A failed write does not stop the rollback: the faults must end.
    let kept = set.persist(&next_ledger, Vec::new()).await;
    *ledger = next_ledger;
    set.publish(next, StageEnd::Replaced, BY);
    set.evaluator.events.emit(Event::PolicyRolledBack {
        policy: name.clone(),
        generation: probation.previous.number,
        digest: probation.previous.candidate.code.digest.clone(),
        was: Some(failed.number),
        to: probation.previous.number,
        how: How::Probation.name().to_owned(),
        by: BY.to_owned(),
        reason,
    });
    if let Err(error) = kept {
        set.evaluator.events.emit(Event::PolicyRollbackNotKept {
            policy: name,
            generation: probation.previous.number,
            error,
        });
    }
    standing_review::review(set, &ledger).await;
}

/// Ends the probations that have expired at `now`. Event 5028.
pub(crate) async fn end_expired_probations(set: &PolicySet, now: Instant) {
    let mut ledger = set.ledger.lock().await;
    let chain = set.chain.load_full();
    let over = |probation: &Arc<Probation>| probation.ends <= now;
    if !chain
        .modules
        .iter()
        .any(|module| module.probation.as_ref().is_some_and(over))
    {
        return;
    }
    let mut next = Chain::clone(&chain);
    for module in &mut next.modules {
        let Some(probation) = module.probation.take_if(|probation| over(probation)) else {
            continue;
        };
        let Ok(generation) = &module.running else {
            continue;
        };
        ledger.previous.remove(&*module.name);
        let tally = probation.fault_budget.tally();
        set.evaluator.events.emit(Event::PolicyProved {
            policy: module.name.to_string(),
            generation: generation.number,
            digest: generation.candidate.code.digest.clone(),
            calls: generation.counters.calls(),
            recent_faults: tally.faults,
        });
    }
    set.publish(next, StageEnd::Replaced, BY);
}

fn position_of(chain: &Chain, probation: &Arc<Probation>) -> Option<usize> {
    let is = |other: &Arc<Probation>| Arc::ptr_eq(other, probation);
    chain
        .modules
        .iter()
        .position(|module| module.probation.as_ref().is_some_and(is))
}
