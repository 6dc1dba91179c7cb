//! Probation: a generation that was just loaded has to prove itself. If it faults too often, the
//! last one that did prove itself is put back.

use std::sync::Arc;
use std::time::Instant;

use crate::evaluate::chain::{Chain, Module};
use crate::evaluate::fault_budget::FaultBudget;
use crate::evaluate::staging::StageEnd;
use crate::manage::activation_history::How;
use crate::manage::activation_store::Activated;
use crate::manage::desired::{Ready, trusted};
use crate::manage::manager::{Inner, is_the_same};
use host_config::{PolicyModule, Problem};
use host_engine::generation::Generation;
use host_engine::sliding_window::Tally;
use host_events::Event;
use host_mail::Timestamp;

/// Who rolls back.
const BY: &str = "probation";

/// Of one module's generation.
pub(crate) struct Probation {
    /// What is put back.
    pub(crate) previous: Arc<Generation>,
    /// How that was activated.
    pub(crate) restores: Activated,
    pub(crate) fault_budget: FaultBudget,
    pub(crate) ends: Instant,
    pub(crate) until: Timestamp,
}

impl Probation {
    /// None if the configuration wants none.
    pub(crate) fn new(
        limits: &host_config::ProbationConfig,
        previous: &Arc<Generation>,
        restores: &Activated,
    ) -> Option<Arc<Self>> {
        let probation = || {
            Arc::new(Self {
                previous: Arc::clone(previous),
                restores: restores.clone(),
                fault_budget: FaultBudget::new(limits),
                ends: Instant::now() + limits.lasts,
                until: Timestamp::now().after(limits.lasts),
            })
        };
        (limits.faults > 0).then(probation)
    }

    /// Of a generation that replaces one which may be on probation itself: what is put back is
    /// always something that has proved itself.
    pub(crate) fn after(chain: &Chain, place: usize, new: &Generation, was: Option<&Activated>) -> Option<Arc<Self>> {
        let module = chain.modules.get(place)?;
        if is_the_same(module.running.as_ref().ok(), new) {
            return module.probation.clone();
        }
        let (previous, restores) = proved(module, was)?;
        Self::new(&chain.probation, previous, restores)
    }

    /// Of a generation that another configuration brings. None if it replaces nothing, or something that
    /// the new configuration would not have: grants, limits and signers are always the configuration's.
    pub(crate) fn after_reload(
        limits: &host_config::ProbationConfig,
        before: &Chain,
        configured: &PolicyModule,
        ready: &Ready,
        was: Option<&Activated>,
    ) -> Option<Arc<Self>> {
        let module = before.modules.iter().find(|module| *module.name == configured.name)?;
        if is_the_same(module.running.as_ref().ok(), &ready.generation) {
            return None;
        }
        let (previous, restores) = proved(module, was)?;
        let candidate = &previous.candidate;
        let may_come_back = candidate.grants == configured.grants
            && candidate.limits == configured.limits
            && module.configured.signed_by == configured.signed_by;
        if !may_come_back || previous.identity == ready.generation.identity {
            return None;
        }
        // It is not what this configuration says, and stays until the configuration says something else.
        let restores = Activated {
            code_loaded: restores.code != ready.activated.code || ready.activated.code_loaded,
            settings_loaded: restores.settings != configured.settings,
            configured: ready.activated.configured.clone(),
            ..restores.clone()
        };
        Self::new(limits, previous, &restores)
    }
}

/// The last generation of a module that did not have to prove itself, and how it was activated.
fn proved<'a>(module: &'a Module, was: Option<&'a Activated>) -> Option<(&'a Arc<Generation>, &'a Activated)> {
    let running = module.running.as_ref().ok()?;
    Some(match &module.probation {
        Some(probation) => (&probation.previous, &probation.restores),
        None => (running, was?),
    })
}

impl Inner {
    /// Puts back what ran before, if this probation still goes on.
    pub(crate) async fn put_back(&self, probation: &Arc<Probation>, tally: Tally) {
        let mut ledger = self.ledger.lock().await;
        let chain = self.chain.load_full();
        let Some(place) = place_of(&chain, probation) else {
            return;
        };
        let mut next = Chain::clone(&chain);
        let Some(module) = next.modules.get_mut(place) else {
            return;
        };
        if let Err(problems) = self.may_return(module, place, &probation.previous).await {
            // What faults stays: it is signed by whoever may sign now.
            module.probation = None;
            let digest = probation.previous.candidate.code.digest.clone();
            self.refused(&module.name, digest, BY, &problems);
            ledger.previous.remove(&*module.name);
            self.publish(next, StageEnd::Replaced, BY);
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
        let restored = Activated {
            how: How::Probation,
            by: BY.to_owned(),
            why: reason.clone(),
            since: Timestamp::now(),
            ..probation.restores.clone()
        };
        after.activate(&name, restored, Some(probation.previous.number), None);
        if next.staging.is_none() {
            after.staged = None;
        }
        // Whether the disk takes it or not: the faults must end.
        let kept = self.keep(&after, Vec::new()).await;
        *ledger = after;
        self.publish(next, StageEnd::Replaced, BY);
        self.core.events.emit(Event::PolicyRolledBack {
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
            self.core.events.emit(Event::PolicyRollbackNotKept {
                policy: name,
                generation: probation.previous.number,
                error,
            });
        }
    }

    /// Whose signature is asked for may have changed since it ran.
    async fn may_return(&self, module: &Module, place: usize, previous: &Generation) -> Result<(), Vec<Problem>> {
        let signers = &module.configured.signed_by;
        if signers.is_empty() {
            return Ok(());
        }
        let artifact = self.kept(&previous.candidate.code.digest).await?;
        trusted(&artifact, signers, &format!("policy[{place}]"))
    }

    /// Ends the probations whose time is over.
    pub(crate) async fn end_probations(&self, now: Instant) {
        let mut ledger = self.ledger.lock().await;
        let chain = self.chain.load_full();
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
            self.core.events.emit(Event::PolicyProved {
                policy: module.name.to_string(),
                generation: generation.number,
                digest: generation.candidate.code.digest.clone(),
                calls: generation.counters.calls(),
                recent_faults: tally.faults,
            });
        }
        self.publish(next, StageEnd::Replaced, BY);
    }
}

fn place_of(chain: &Chain, probation: &Arc<Probation>) -> Option<usize> {
    let is = |other: &Arc<Probation>| Arc::ptr_eq(other, probation);
    chain
        .modules
        .iter()
        .position(|module| module.probation.as_ref().is_some_and(is))
}
