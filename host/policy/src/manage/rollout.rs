//! Rollout: a staged candidate as a canary. Stages are begun, promoted and cancelled by operators, and ended by the
//! supervisor after too many faults or at the end of the time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::evaluate::chain::Chain;
use crate::evaluate::fault_budget::{FaultBudget, TrialTally};
use crate::evaluate::trial::{Selection, Staging};
use crate::manage::activate::Activation;
use crate::manage::activation_history::{Cause, How};
use crate::manage::activation_store::{Activated, Ledger, StagedRecord};
use crate::manage::desired::{BuiltGeneration, Desired, build};
use crate::manage::policy_set::{PolicySet, StageEnd, find_module};
use crate::manage::probation;
use crate::manage::request::LoadRequest;
use crate::manage::standing_review;
use crate::manage::trusted_code::check_code;
use host_config::{Problem, Share};
use host_events::Event;
use host_mail::Timestamp;

/// A request to stage a candidate.
#[derive(Debug, Clone)]
pub struct StageRequest {
    /// The candidate.
    pub load: LoadRequest,
    /// Share of the sessions of the selected clients.
    pub share: Share,
    /// Networks of the selected clients; empty selects every client.
    pub clients: Vec<IpNet>,
    /// Time until the stage ends.
    pub lasts: Duration,
    /// Reason, for the event.
    pub reason: Option<String>,
}

/// A stage, as shown to operators.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct Staged {
    pub module: String,
    pub version: String,
    pub digest: String,
    pub generation: u64,
    /// The generation that decides for all other sessions.
    pub active: u64,
    pub share: Share,
    pub clients: Vec<IpNet>,
    pub until: Timestamp,
}

/// Stages a candidate, as [`crate::PolicyManager::stage`] describes.
pub(crate) async fn stage(set: &PolicySet, request: StageRequest) -> Result<Staged, Vec<Problem>> {
    let mut ledger = set.ledger.lock().await;
    let chain = set.chain.load_full();
    if let Some(staging) = &chain.staging {
        return Err(problem(format!(
            "generation {} is staged in module {} until {}; promote or cancel it first",
            staging.generation.number, staging.module, staging.until
        )));
    }
    let position = find_module(&chain, request.load.module.as_deref())?;
    let Some(module) = chain.modules.get(position) else {
        return Err(problem("there is no such module".to_owned()));
    };
    let Ok(active) = &module.running else {
        return Err(problem(format!(
            "module {} cannot run, so there is nothing to decide beside; load a policy instead",
            module.name
        )));
    };
    let by = request.load.by.clone();
    let why = request.reason.clone().unwrap_or_default();
    let cause = Cause::new(How::Promote, by.clone(), why);
    let built = build_candidate(set, &chain, position, request.load, &cause, &mut ledger).await?;
    let code = built.code_to_store();
    let generation = built.generation;
    if generation.number == active.number {
        let text = format!("this is generation {}, which decides already", active.number);
        return Err(problem(text));
    }
    let mut next_ledger = ledger.clone();
    next_ledger.staged = Some(StagedRecord {
        module: module.name.to_string(),
        activated: built.activated,
    });
    set.persist(&next_ledger, code.into_iter().collect())
        .await
        .map_err(problem)?;
    *ledger = next_ledger;
    let selection = Selection {
        share: request.share,
        clients: request.clients,
        salt: generation.number,
    };
    let staging = Arc::new(Staging {
        module: Arc::clone(&module.name),
        selection,
        fault_budget: FaultBudget::new(&chain.probation),
        ends: Instant::now() + request.lasts,
        until: Timestamp::now().after(request.lasts),
        reason: request.reason,
        generation,
    });
    let mut next = Chain::clone(&chain);
    next.staging = Some(Arc::clone(&staging));
    set.publish(next, StageEnd::Replaced, &by);
    emit_staged(set, &staging, by);
    Ok(describe(&staging, active.number))
}

/// Builds the generation of a candidate. Problems are Event 5004.
async fn build_candidate(
    set: &PolicySet,
    chain: &Chain,
    position: usize,
    request: LoadRequest,
    cause: &Cause,
    ledger: &mut Ledger,
) -> Result<BuiltGeneration, Vec<Problem>> {
    let name = chain
        .modules
        .get(position)
        .map(|module| Arc::clone(&module.name))
        .unwrap_or_default();
    let last_activation = ledger.modules.get(&*name).cloned();
    let desired = Desired::of_module(chain, position, last_activation.as_ref()).await?;
    let attempt = desired.attempt_to_load(request);
    let built = build(set, &desired, &attempt, cause, ledger).await;
    built.inspect_err(|problems| set.emit_refused(&name, desired.digest(&attempt), &cause.by, problems))
}

fn emit_staged(set: &PolicySet, staging: &Staging, by: String) {
    set.evaluator.events.emit(Event::PolicyStaged {
        policy: staging.module.to_string(),
        version: staging.generation.description.version.clone(),
        digest: staging.generation.candidate.code.digest.clone(),
        generation: staging.generation.number,
        share: staging.selection.share.to_string(),
        clients: staging.selection.clients.iter().map(ToString::to_string).collect(),
        until: staging.until.to_string(),
        by,
        reason: staging.reason.clone(),
    });
}

/// Promotes a staged candidate, as [`crate::PolicyManager::promote`] describes.
pub(crate) async fn promote(set: &PolicySet, by: &str, force: bool) -> Result<Activation, Vec<Problem>> {
    let mut ledger = set.ledger.lock().await;
    let chain = set.chain.load_full();
    let (Some(staging), Some(record)) = (&chain.staging, ledger.staged.clone()) else {
        return Err(nothing_staged());
    };
    let generation = &staging.generation;
    ledger.held_back.check(&generation.identity, force)?;
    let position = find_module(&chain, Some(&staging.module))?;
    let configured = chain.modules.get(position).map(|module| &module.configured);
    let signers = configured.map_or(&[][..], |configured| &configured.signed_by);
    let key = format!("policy[{position}]");
    check_code(set, &generation.candidate.code, signers, &key, None).await?;
    let was = ledger.modules.get(&*staging.module).cloned();
    let begun = probation::begin(&chain, position, generation, was.as_ref(), &ledger);
    let (probation, restores) = begun.unzip();
    let mut next_ledger = ledger.clone();
    next_ledger.staged = None;
    let promoted = Activated {
        by: by.to_owned(),
        since: Timestamp::now(),
        ..record.activated
    };
    next_ledger.activate(&staging.module, promoted, None, restores);
    let mut next = Chain::clone(&chain);
    next.staging = None;
    let previous = next.modules.get_mut(position).and_then(|module| {
        module.probation = probation;
        std::mem::replace(&mut module.running, Ok(Arc::clone(generation))).ok()
    });
    set.persist(&next_ledger, Vec::new()).await.map_err(problem)?;
    *ledger = next_ledger;
    set.publish(next, StageEnd::Promoted, by);
    set.emit_activated(generation);
    set.set_standing(&staging.module, |standing| standing.refused = None);
    standing_review::review(set, &ledger).await;
    Ok(Activation::of(generation, previous.as_deref()))
}

/// Ends a stage, as [`crate::PolicyManager::cancel`] describes.
pub(crate) async fn cancel(set: &PolicySet, by: &str) -> Result<Staged, Vec<Problem>> {
    let chain = set.chain.load_full();
    let staging = chain.staging.as_ref().ok_or_else(nothing_staged)?;
    if !unstage(set, staging, StageEnd::Cancelled, by).await {
        return Err(nothing_staged());
    }
    let active = chain.modules.iter().find(|module| module.name == staging.module);
    let active = active.and_then(|module| module.running.as_ref().ok());
    Ok(describe(staging, active.map_or(0, |generation| generation.number)))
}

/// Ends the stage of a candidate that used up the fault budget. Event 5047.
pub(crate) async fn end_failed_stage(set: &PolicySet, staging: &Arc<Staging>, tally: TrialTally) {
    unstage(set, staging, StageEnd::Failed(tally.tally), "faults").await;
}

/// Ends the stage if the time of the stage is over at `now`.
pub(crate) async fn end_expired_stage(set: &PolicySet, now: Instant) {
    let chain = set.chain.load_full();
    if let Some(staging) = chain.staging.as_ref().filter(|staging| staging.ends <= now) {
        unstage(set, staging, StageEnd::TimeOver, "time").await;
    }
}

/// Ends the stage if `staging` is still current. Returns true if so.
async fn unstage(set: &PolicySet, staging: &Arc<Staging>, end: StageEnd, by: &str) -> bool {
    let mut ledger = set.ledger.lock().await;
    let chain = set.chain.load_full();
    if !chain.staging.as_ref().is_some_and(|other| Arc::ptr_eq(other, staging)) {
        return false;
    }
    ledger.staged = None;
    // A failed write is harmless: the next start ends the stage again.
    let _ = set.persist(&ledger, Vec::new()).await;
    let mut next = Chain::clone(&chain);
    next.staging = None;
    set.publish(next, end, by);
    true
}

/// Clears the stage of an earlier run of the host, at start. Event 5046.
pub(crate) fn clear_stage(set: &PolicySet, ledger: &mut Ledger) {
    if let Some(record) = ledger.staged.take() {
        set.evaluator.events.emit(Event::PolicyStageEnded {
            policy: record.module,
            generation: record.activated.generation,
            digest: record.activated.code,
            why: StageEnd::Stopped.name().to_owned(),
            by: "start".to_owned(),
        });
    }
}

/// Describes a stage for operators. `active` is the generation that decides for all other sessions.
fn describe(staging: &Staging, active: u64) -> Staged {
    Staged {
        module: staging.module.to_string(),
        version: staging.generation.description.version.clone(),
        digest: staging.generation.candidate.code.digest.clone(),
        generation: staging.generation.number,
        active,
        share: staging.selection.share,
        clients: staging.selection.clients.clone(),
        until: staging.until,
    }
}

fn nothing_staged() -> Vec<Problem> {
    problem("nothing is staged".to_owned())
}

fn problem(text: String) -> Vec<Problem> {
    vec![Problem::new("", text)]
}
