//! What an operator, a clock or faults do about a stage: begin it, promote or cancel it, end it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::evaluate::chain::Chain;
use crate::evaluate::fault_budget::FaultBudget;
use crate::evaluate::trial::{Selection, Staging};
use crate::manage::activate::Activation;
use crate::manage::activation_history::{Cause, How};
use crate::manage::activation_store::{Activated, Ledger, StagedRecord};
use crate::manage::desired::{Desired, Ready, build};
use crate::manage::policy_set::{PolicySet, StageEnd, find};
use crate::manage::probation;
use crate::manage::request::LoadRequest;
use host_config::{Problem, Share};
use host_engine::sliding_window::Tally;
use host_events::Event;
use host_mail::Timestamp;

/// A request to stage a candidate.
#[derive(Debug, Clone)]
pub struct StageRequest {
    /// The candidate.
    pub load: LoadRequest,
    /// Share of the sessions; of the clients' sessions, if there are clients.
    pub share: Share,
    /// Networks of the clients whose sessions are taken; none takes every client's.
    pub clients: Vec<IpNet>,
    /// Time until the stage ends.
    pub lasts: Duration,
    /// Reason, for the event.
    pub reason: Option<String>,
}

/// A stage as operators see it.
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

/// See [`crate::PolicyManager::stage`].
pub(crate) async fn stage(set: &PolicySet, request: StageRequest) -> Result<Staged, Vec<Problem>> {
    let mut ledger = set.ledger.lock().await;
    let chain = set.chain.load_full();
    if let Some(staging) = &chain.staging {
        return Err(one(format!(
            "generation {} is staged in module {} until {}; promote or cancel it first",
            staging.generation.number, staging.module, staging.until
        )));
    }
    let place = find(&chain, request.load.module.as_deref())?;
    let Some(module) = chain.modules.get(place) else {
        return Err(one("there is no such module".to_owned()));
    };
    let Ok(active) = &module.running else {
        return Err(one(format!(
            "module {} cannot run, so there is nothing to decide beside; load a policy instead",
            module.name
        )));
    };
    let by = request.load.by.clone();
    let why = request.reason.clone().unwrap_or_default();
    let cause = Cause::new(How::Promote, by.clone(), why);
    let ready = stage_ready(set, &chain, place, request.load, &cause, &mut ledger).await?;
    let code = ready.to_keep();
    let generation = ready.generation;
    if generation.number == active.number {
        let text = format!("this is generation {}, which decides already", active.number);
        return Err(one(text));
    }
    let mut after = ledger.clone();
    after.staged = Some(StagedRecord {
        module: module.name.to_string(),
        activated: ready.activated,
    });
    set.keep(&after, code.into_iter().collect()).await.map_err(one)?;
    *ledger = after;
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
    stage_began(set, &staging, by);
    Ok(report(&staging, active.number))
}

/// Makes a generation of the candidate.
async fn stage_ready(
    set: &PolicySet,
    chain: &Chain,
    place: usize,
    request: LoadRequest,
    cause: &Cause,
    ledger: &mut Ledger,
) -> Result<Ready, Vec<Problem>> {
    let name = chain
        .modules
        .get(place)
        .map(|module| Arc::clone(&module.name))
        .unwrap_or_default();
    let was = ledger.modules.get(&*name).cloned();
    let desired = Desired::of_module(chain, place, was.as_ref()).await?;
    let attempt = desired.attempt_to_load(request);
    let ready = build(set, &desired, &attempt, cause, ledger).await;
    ready.inspect_err(|problems| set.refused(&name, desired.digest(&attempt), &cause.by, problems))
}

fn stage_began(set: &PolicySet, staging: &Staging, by: String) {
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

/// See [`crate::PolicyManager::promote`].
pub(crate) async fn promote(set: &PolicySet, by: &str, force: bool) -> Result<Activation, Vec<Problem>> {
    let mut ledger = set.ledger.lock().await;
    let chain = set.chain.load_full();
    let (Some(staging), Some(record)) = (&chain.staging, ledger.staged.clone()) else {
        return Err(nothing_staged());
    };
    let generation = &staging.generation;
    ledger.held_back.check(&generation.identity, force)?;
    let place = find(&chain, Some(&staging.module))?;
    let was = ledger.modules.get(&*staging.module).cloned();
    let (probation, restores) = probation::after(&chain, place, generation, was.as_ref(), &ledger).unzip();
    let mut after = ledger.clone();
    after.staged = None;
    let promoted = Activated {
        by: by.to_owned(),
        since: Timestamp::now(),
        ..record.activated
    };
    after.activate(&staging.module, promoted, None, restores);
    let mut next = Chain::clone(&chain);
    next.staging = None;
    let previous = next.modules.get_mut(place).and_then(|module| {
        module.probation = probation;
        std::mem::replace(&mut module.running, Ok(Arc::clone(generation))).ok()
    });
    set.keep(&after, Vec::new()).await.map_err(one)?;
    *ledger = after;
    set.publish(next, StageEnd::Promoted, by);
    set.announce(generation);
    Ok(Activation::of(generation, previous.as_deref()))
}

/// See [`crate::PolicyManager::cancel`].
pub(crate) async fn cancel(set: &PolicySet, by: &str) -> Result<Staged, Vec<Problem>> {
    let chain = set.chain.load_full();
    let staging = chain.staging.as_ref().ok_or_else(nothing_staged)?;
    if !unstage(set, staging, StageEnd::Cancelled, by).await {
        return Err(nothing_staged());
    }
    let active = chain.modules.iter().find(|module| module.name == staging.module);
    let active = active.and_then(|module| module.running.as_ref().ok());
    Ok(report(staging, active.map_or(0, |generation| generation.number)))
}

/// The candidate faulted too often.
pub(crate) async fn stage_failed(set: &PolicySet, staging: &Arc<Staging>, tally: Tally) {
    unstage(set, staging, StageEnd::Failed(tally), "faults").await;
}

/// Ends the stage if its time is over.
pub(crate) async fn end_stage(set: &PolicySet, now: Instant) {
    let chain = set.chain.load_full();
    if let Some(staging) = chain.staging.as_ref().filter(|staging| staging.ends <= now) {
        unstage(set, staging, StageEnd::TimeOver, "time").await;
    }
}

/// Whether this is what ended it.
async fn unstage(set: &PolicySet, staging: &Arc<Staging>, end: StageEnd, by: &str) -> bool {
    let mut ledger = set.ledger.lock().await;
    let chain = set.chain.load_full();
    if !chain.staging.as_ref().is_some_and(|other| Arc::ptr_eq(other, staging)) {
        return false;
    }
    ledger.staged = None;
    // If the disk does not take it, the next start says once more that the stage has ended.
    let _ = set.keep(&ledger, Vec::new()).await;
    let mut next = Chain::clone(&chain);
    next.staging = None;
    set.publish(next, end, by);
    true
}

/// At start: what was staged when the host stopped is so no more.
pub(crate) fn forget_stage(set: &PolicySet, ledger: &mut Ledger) {
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

/// Returns what operators see of a stage. `active` is the generation that decides for all other sessions.
fn report(staging: &Staging, active: u64) -> Staged {
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
    one("nothing is staged".to_owned())
}

fn one(text: String) -> Vec<Problem> {
    vec![Problem::new("", text)]
}
