//! Probation: a generation that was just loaded has to prove itself. If it faults too often, the
//! last one that did prove itself is put back.

use std::sync::Arc;
use std::time::Instant;

use crate::evaluate::chain::{Chain, Module};
use crate::evaluate::trial::Probation;
use crate::manage::activation_history::How;
use crate::manage::activation_store::{Activated, Ledger};
use crate::manage::desired::{Ready, trusted};
use crate::manage::policy_set::{PolicySet, StageEnd, is_the_same};
use host_config::{PolicyModule, ProbationConfig, Problem};
use host_engine::generation::Generation;
use host_engine::sliding_window::Tally;
use host_events::Event;
use host_mail::Timestamp;

/// Who rolls back.
const BY: &str = "probation";

/// Begins the probation of a generation that replaces one which may be on probation itself: the generation that returns has
/// always proved itself. Returned with it is the activation that returns.
pub(crate) fn after(
    chain: &Chain,
    place: usize,
    new: &Generation,
    was: Option<&Activated>,
    ledger: &Ledger,
) -> Option<(Arc<Probation>, Activated)> {
    let module = chain.modules.get(place)?;
    if is_the_same(module.running.as_ref().ok(), new) {
        let restores = ledger.previous.get(&*module.name)?;
        return Some((module.probation.clone()?, restores.clone()));
    }
    let (previous, restores) = proved(module, was, ledger)?;
    Some((Probation::new(&chain.probation, previous)?, restores.clone()))
}

/// Begins the probation of a generation that another configuration brings. `None` if nothing is replaced, or a generation
/// that the new configuration would not have: grants, limits and signers are always the configuration's.
pub(crate) fn after_reload(
    limits: &ProbationConfig,
    before: &Chain,
    configured: &PolicyModule,
    ready: &Ready,
    was: Option<&Activated>,
    ledger: &Ledger,
) -> Option<(Arc<Probation>, Activated)> {
    let module = before.modules.iter().find(|module| *module.name == configured.name)?;
    if is_the_same(module.running.as_ref().ok(), &ready.generation) {
        return None;
    }
    let (previous, restores) = proved(module, was, ledger)?;
    let candidate = &previous.candidate;
    let may_come_back = candidate.grants == configured.grants
        && candidate.limits == configured.limits
        && module.configured.signed_by == configured.signed_by;
    if !may_come_back || previous.identity == ready.generation.identity {
        return None;
    }
    // The generation that returns differs from this configuration, and stays until the configuration changes again.
    let restores = Activated {
        code_loaded: restores.code != ready.activated.code || ready.activated.code_loaded,
        settings_loaded: restores.settings != configured.settings,
        configured: ready.activated.configured.clone(),
        ..restores.clone()
    };
    Some((Probation::new(limits, previous)?, restores))
}

/// Returns the last generation of a module that did not have to prove itself, and its activation.
fn proved<'a>(
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

/// Puts back what ran before, if this probation still goes on.
pub(crate) async fn put_back(set: &PolicySet, probation: &Arc<Probation>, tally: Tally) {
    let mut ledger = set.ledger.lock().await;
    let chain = set.chain.load_full();
    let Some(place) = place_of(&chain, probation) else {
        return;
    };
    let mut next = Chain::clone(&chain);
    let Some(module) = next.modules.get_mut(place) else {
        return;
    };
    if let Err(problems) = may_return(set, module, place, &probation.previous).await {
        // What faults stays: it is signed by whoever may sign now.
        module.probation = None;
        let digest = probation.previous.candidate.code.digest.clone();
        set.refused(&module.name, digest, BY, &problems);
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

    let mut after = ledger.clone();
    after.held_back.add(&failed.identity, Timestamp::now());
    let reason = format!("{} faults in {} calls on probation", tally.faults, tally.calls);
    if let Some(restores) = ledger.previous.get(&name) {
        let restored = Activated {
            how: How::Probation,
            by: BY.to_owned(),
            why: reason.clone(),
            since: Timestamp::now(),
            ..restores.clone()
        };
        after.activate(&name, restored, Some(probation.previous.number), None);
    }
    if next.staging.is_none() {
        after.staged = None;
    }
    // Whether the disk takes it or not: the faults must end.
    let kept = set.keep(&after, Vec::new()).await;
    *ledger = after;
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
}

/// Whose signature is asked for may have changed since it ran.
async fn may_return(set: &PolicySet, module: &Module, place: usize, previous: &Generation) -> Result<(), Vec<Problem>> {
    let signers = &module.configured.signed_by;
    if signers.is_empty() {
        return Ok(());
    }
    let artifact = set.kept(&previous.candidate.code.digest).await?;
    trusted(&artifact, signers, &format!("policy[{place}]"))
}

/// Ends the probations whose time is over.
pub(crate) async fn end_probations(set: &PolicySet, now: Instant) {
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

fn place_of(chain: &Chain, probation: &Arc<Probation>) -> Option<usize> {
    let is = |other: &Arc<Probation>| Arc::ptr_eq(other, probation);
    chain
        .modules
        .iter()
        .position(|module| module.probation.as_ref().is_some_and(is))
}
