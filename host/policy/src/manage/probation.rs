//! Probation: the automatic rollback of a new generation that faults too often. The generation that returns has always
//! passed a probation. Begun by activation, promotion and reload; ended by the supervisor.

use std::sync::Arc;
use std::time::Instant;

use crate::evaluate::chain::{Chain, Module};
use crate::evaluate::fault_budget::TrialTally;
use crate::evaluate::trial::Probation;
use crate::manage::activation_history::How;
use crate::manage::activation_store::{Activated, Artifact, Ledger, Restores};
use crate::manage::changes::Changes;
use crate::manage::desired::BuiltGeneration;
use crate::manage::policy_set::{PolicySet, StageEnd, is_same_generation};
use crate::manage::standing_review;
use crate::manage::trusted_code::check_code;
use host_config::{PolicyModule, ProbationConfig};
use host_engine::generation::Generation;
use host_events::Event;
use host_mail::Timestamp;

/// Actor in events.
const BY: &str = "probation";

/// Begins the probation of a generation that replaces the module's generation. Returns the probation and the activations
/// that a rollback restores.
pub(crate) fn begin(
    chain: &Chain,
    position: usize,
    new: &Generation,
    was: Option<&Activated>,
    ledger: &Ledger,
) -> Option<(Arc<Probation>, Restores)> {
    let module = chain.modules.get(position)?;
    if is_same_generation(module.running.as_ref().ok(), new) {
        let name = &*module.name;
        let restores = Restores {
            previous: ledger.previous.get(name)?.clone(),
            earlier: ledger.earlier.get(name).cloned(),
        };
        return Some((module.probation.clone()?, restores));
    }
    let proven = newest_proven(module, was, ledger)?;
    let probation = Probation::new(&chain.probation, proven.generation, proven.resumes)?;
    Some((probation, proven.restores))
}

/// Begins the probation of a generation that a reload brings. `None` if nothing is replaced, or if the new
/// configuration has other grants or limits than the replaced generation: a rollback must not restore old grants.
pub(crate) fn begin_after_reload(
    limits: &ProbationConfig,
    before: &Chain,
    configured: &PolicyModule,
    built: &BuiltGeneration,
    was: Option<&Activated>,
    ledger: &Ledger,
) -> Option<(Arc<Probation>, Restores)> {
    let module = before.modules.iter().find(|module| *module.name == configured.name)?;
    if is_same_generation(module.running.as_ref().ok(), &built.generation) {
        return None;
    }
    let proven = newest_proven(module, was, ledger)?;
    let may_come_back = |generation: &Generation| {
        let candidate = &generation.candidate;
        candidate.grants == configured.grants && candidate.limits == configured.limits
    };
    if !may_come_back(proven.generation) || proven.generation.identity == built.generation.identity {
        return None;
    }
    // The restored generation differs from this configuration, and stays until the configuration changes again.
    let adapted = |restores: Activated| Activated {
        code_loaded: restores.code != built.activated.code || built.activated.code_loaded,
        settings_loaded: restores.settings != configured.settings,
        configured: built.activated.configured.clone(),
        ..restores
    };
    let resumes = proven.resumes.filter(|resumes| may_come_back(&resumes.previous));
    let earlier = proven.restores.earlier.filter(|_| resumes.is_some());
    let restores = Restores {
        previous: adapted(proven.restores.previous),
        earlier: earlier.map(adapted),
    };
    Some((Probation::new(limits, proven.generation, resumes)?, restores))
}

/// The generation that a rollback restores.
struct Proven<'a> {
    generation: &'a Arc<Generation>,
    /// The rest of the generation's own probation.
    resumes: Option<Arc<Probation>>,
    restores: Restores,
}

/// Returns the newest proven generation of a module: a generation that is not on probation, or one on probation without
/// a fault. A restored generation on probation continues its probation.
fn newest_proven<'a>(module: &'a Module, was: Option<&Activated>, ledger: &Ledger) -> Option<Proven<'a>> {
    let running = module.running.as_ref().ok()?;
    let name = &*module.name;
    Some(match &module.probation {
        None => Proven {
            generation: running,
            resumes: None,
            restores: Restores {
                previous: was?.clone(),
                earlier: None,
            },
        },
        Some(probation) if probation.fault_budget.is_clean() => Proven {
            generation: running,
            resumes: Some(probation.suspended()),
            restores: Restores {
                previous: was?.clone(),
                earlier: ledger.previous.get(name).cloned(),
            },
        },
        Some(probation) => Proven {
            generation: &probation.previous,
            resumes: probation.resumes.clone(),
            restores: Restores {
                previous: ledger.previous.get(name)?.clone(),
                earlier: ledger.earlier.get(name).cloned(),
            },
        },
    })
}

/// Rolls back to the previous generation, if this probation is still current. Event 5024.
pub(crate) async fn roll_back_failed(set: &PolicySet, probation: &Arc<Probation>, tally: TrialTally) {
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
        ledger.restore_later(&module.name, None);
        set.publish(next, StageEnd::Replaced, BY);
        return;
    }
    let Ok(failed) = std::mem::replace(&mut module.running, Ok(Arc::clone(&probation.previous))) else {
        return;
    };
    // What is left of the restored generation's own probation continues.
    module.probation.clone_from(&probation.resumes);
    let name = module.name.to_string();
    next.drop_staging_of(&name);

    let restored = &probation.previous;
    let undone = Undone::between(&failed, restored);
    let mut next_ledger = ledger.clone();
    next_ledger.held_back.add(&failed.identity, Timestamp::now());
    let reason = format!("{tally} on probation{}", undone.in_words());
    if let Some(activated) = ledger.previous.get(&name) {
        let activated = Activated {
            how: How::Probation,
            by: BY.to_owned(),
            why: reason.clone(),
            since: Timestamp::now(),
            ..activated.clone()
        };
        let resumes = ledger.earlier.get(&name).filter(|_| probation.resumes.is_some());
        let restores = resumes.map(|earlier| Restores {
            previous: earlier.clone(),
            earlier: None,
        });
        next_ledger.activate(&name, activated, Some(restored.number), restores);
    }
    if next.staging.is_none() {
        next_ledger.staged = None;
    }
    // A failed write does not stop the rollback: the faults must end.
    let kept = set.persist(&next_ledger, code_of(set, restored).await).await;
    *ledger = next_ledger;
    set.publish(next, StageEnd::Replaced, BY);
    set.evaluator.events.emit(Event::PolicyRolledBack {
        policy: name.clone(),
        generation: restored.number,
        digest: restored.candidate.code.digest.clone(),
        was: Some(failed.number),
        to: restored.number,
        how: How::Probation.name().to_owned(),
        by: BY.to_owned(),
        reason,
    });
    if let Some(event) = undone.into_event(&name, &failed, restored) {
        set.evaluator.events.emit(event);
    }
    if let Err(error) = kept {
        set.evaluator.events.emit(Event::PolicyRollbackNotKept {
            policy: name,
            generation: restored.number,
            error,
        });
    }
    standing_review::review(set, &ledger).await;
}

/// Returns the code of a generation, which may be missing in the store.
async fn code_of(set: &PolicySet, generation: &Generation) -> Vec<(String, Artifact)> {
    let code = &generation.candidate.code;
    let artifact = Artifact {
        bytes: Arc::clone(&code.bytes),
        signature: set.stored_signature(&code.digest).await,
    };
    vec![(code.digest.clone(), artifact)]
}

/// The changes of an operator that an automatic rollback undoes.
struct Undone(Vec<String>);

impl Undone {
    fn between(failed: &Generation, restored: &Generation) -> Self {
        let changes = Changes::between(Some(restored), failed);
        let code = changes
            .code
            .as_ref()
            .map(|_| format!("code from {}", failed.candidate.origin));
        let settings = changes.settings_in_words().map(|text| format!("settings: {text}"));
        Self(code.into_iter().chain(settings).collect())
    }

    fn in_words(&self) -> String {
        match self.0.is_empty() {
            true => String::new(),
            false => format!("; no longer in force: {}", self.0.join("; ")),
        }
    }

    /// Returns Event 5132; `None` if nothing is undone.
    fn into_event(self, policy: &str, failed: &Generation, restored: &Generation) -> Option<Event> {
        (!self.0.is_empty()).then(|| Event::PolicyChangeUndone {
            policy: policy.to_owned(),
            generation: restored.number,
            was: failed.number,
            undone: self.0,
            changed_by: failed.candidate.by.clone(),
        })
    }
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
        ledger.restore_later(&module.name, None);
        let tally = probation.fault_budget.tally().tally;
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
