//! Activation: makes code and settings of a module the next generation, by a load or a rollback. A generation is
//! checked, made durable and only then published. Used by the manager and the watched folder.

use std::sync::Arc;

use serde::Serialize;

use crate::evaluate::chain::Chain;
use crate::evaluate::trial::Probation;
use crate::manage::activation_history::{Cause, How, Past};
use crate::manage::activation_store::Ledger;
use crate::manage::changes::Changes;
use crate::manage::desired::{Attempt, BuiltGeneration, Desired, Source, build};
use crate::manage::policy_set::{PolicySet, StageEnd, find_module, is_same_generation};
use crate::manage::probation;
use crate::manage::request::LoadRequest;
use crate::manage::standing_review;
use host_config::Problem;
use host_engine::generation::Generation;
use host_events::Event;
use host_mail::Timestamp;

/// The result of an activation.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Activation {
    /// Module of the chain.
    pub module: String,
    /// Version from the policy's description.
    pub version: String,
    /// SHA-256 of the code, hexadecimal.
    pub digest: String,
    /// The active generation.
    pub generation: u64,
    /// The generation that was active before; none if the module could not run, the same number if nothing changed.
    pub previous: Option<u64>,
    /// Differences from the previous generation.
    #[serde(default)]
    pub changes: Changes,
    /// Units of work (admissions, mail transactions, notifications) in progress with the previous generation, which
    /// finishes the work.
    #[serde(default)]
    pub in_hand: u64,
    /// Begin of the oldest unfinished unit of work.
    #[serde(default)]
    pub oldest: Option<Timestamp>,
}

impl Activation {
    /// Describes the step from `previous` to `generation`.
    pub(crate) fn of(generation: &Generation, previous: Option<&Generation>) -> Self {
        let in_hand = previous.map(|previous| previous.counters.in_hand()).unwrap_or_default();
        Self {
            module: generation.candidate.module.to_string(),
            version: generation.description.version.clone(),
            digest: generation.candidate.code.digest.clone(),
            generation: generation.number,
            previous: previous.map(|previous| previous.number),
            changes: Changes::between(previous, generation),
            in_hand: in_hand.units,
            oldest: in_hand.oldest,
        }
    }
}

/// The past and the active generations of a module.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ModuleHistory {
    /// Module of the chain.
    pub module: String,
    /// The active generation; none if the module cannot run.
    pub active: Option<u64>,
    /// The generation that a rollback without a number restores.
    pub rollback: Option<u64>,
    /// Activations, newest first.
    pub activations: Vec<PastActivation>,
}

/// A past activation.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PastActivation {
    /// The entry of the history.
    #[serde(flatten)]
    pub past: Past,
    /// True if the code is still stored, so that a rollback is possible.
    pub kept: bool,
}

/// The module that a generation is loaded into.
struct LoadTarget<'a> {
    chain: &'a Chain,
    position: usize,
    /// Ignores the back-off after an automatic rollback.
    force: bool,
}

/// Loads code or settings, as [`crate::PolicyManager::load`] describes.
pub(crate) async fn load(set: &PolicySet, request: LoadRequest) -> Result<Activation, Vec<Problem>> {
    if let Some(folder) = &request.core_dumps
        && (!folder.is_absolute() || !folder.is_dir())
    {
        let text = format!("{} is not the absolute path of a folder", folder.display());
        return Err(vec![Problem::new("core-dumps", text)]);
    }
    let how = if request.watched { How::Watch } else { How::Load };
    let cause = Cause::new(how, request.by.clone(), request.reason.clone());
    let (module, force) = (request.module.clone(), request.force);
    let choose = |desired: &Desired<'_>, _: &Ledger| Ok(desired.attempt_to_load(request));
    activate(set, module.as_deref(), cause, force, choose).await
}

/// Rolls a module back, as [`crate::PolicyManager::roll_back`] describes.
pub(crate) async fn roll_back(
    set: &PolicySet,
    module: Option<&str>,
    to: Option<u64>,
    cause: Cause,
) -> Result<Activation, Vec<Problem>> {
    let mut restored = 0;
    let choose_target = |desired: &Desired<'_>, ledger: &Ledger| {
        let past = rollback_target(set, desired, ledger, to)?;
        restored = past.generation;
        Ok(Attempt {
            code: Source::Stored(past.digest.clone()),
            settings: past.settings.clone(),
            origin: past.origin.clone(),
            back_to: Some(past.generation),
            core_dumps: None,
        })
    };
    let done = activate(set, module, cause.clone(), true, choose_target).await?;
    set.evaluator.events.emit(Event::PolicyRolledBack {
        policy: done.module.clone(),
        generation: done.generation,
        digest: done.digest.clone(),
        was: done.previous,
        to: restored,
        how: cause.how.name().to_owned(),
        by: cause.by,
        reason: cause.why,
    });
    Ok(done)
}

/// Returns the history's entry of generation `to`, or of the last different activation.
fn rollback_target<'a>(
    set: &PolicySet,
    desired: &Desired<'_>,
    ledger: &'a Ledger,
    to: Option<u64>,
) -> Result<&'a Past, Vec<Problem>> {
    let problem = |text: String| vec![Problem::new("generation", text)];
    let module = &desired.configured.name;
    let history = ledger.history.get(module);
    let past = match (to, &desired.running) {
        (Some(to), _) => history.and_then(|history| history.find(to)).ok_or_else(|| {
            problem(format!(
                "generation {to} is not in the history of {module}: see posthouse policy history"
            ))
        })?,
        (None, Some(running)) => history
            .and_then(|history| history.rollback_target(running.number))
            .ok_or_else(|| {
                problem(format!(
                    "nothing else was active in {module} before generation {}",
                    running.number
                ))
            })?,
        (None, None) => {
            return Err(problem(format!(
                "{module} does not run: name the generation to go back to, see posthouse policy history"
            )));
        }
    };
    if set.has_code(&past.digest) {
        return Ok(past);
    }
    Err(problem(format!(
        "the code of generation {} is not kept any more: load its file again",
        past.generation
    )))
}

/// Makes the attempt that `choose` returns the module's generation: durable first, then active for all work that starts
/// from now on. An attempt that fails changes nothing and is Event 5004; an error of `choose` is only returned. Without
/// a name, the module must be the only module of the chain.
///
/// Not cancel safe: run the future in a task that is not aborted.
pub(crate) async fn activate(
    set: &PolicySet,
    module: Option<&str>,
    cause: Cause,
    force: bool,
    choose: impl FnOnce(&Desired<'_>, &Ledger) -> Result<Attempt, Vec<Problem>> + Send,
) -> Result<Activation, Vec<Problem>> {
    let mut ledger = set.ledger.lock().await;
    let chain = set.chain.load_full();
    let position = find_module(&chain, module)?;
    let running = chain
        .modules
        .get(position)
        .and_then(|module| module.running.as_ref().ok().cloned());
    let name = chain
        .modules
        .get(position)
        .map(|module| Arc::clone(&module.name))
        .unwrap_or_default();
    let last_activation = ledger.modules.get(&*name).cloned();
    let desired = Desired::of_module(&chain, position, last_activation.as_ref()).await?;
    let attempt = choose(&desired, &ledger)?;
    let target = LoadTarget {
        chain: &chain,
        position,
        force,
    };
    let made = make_durable(set, &desired, &attempt, &cause, &mut ledger, target).await;
    let (generation, probation) = made.inspect_err(|problems| {
        set.emit_refused(&name, desired.digest(&attempt), &cause.by, problems);
    })?;
    let mut next = Chain::clone(&chain);
    if let Some(module) = next.modules.get_mut(position) {
        module.running = Ok(Arc::clone(&generation));
        module.probation = probation;
    }
    if !is_same_generation(running.as_ref(), &generation) {
        next.drop_staging_of(&name);
    }
    set.publish(next, StageEnd::Replaced, &cause.by);
    set.emit_activated(&generation);
    set.set_standing(&name, |standing| standing.refused = None);
    standing_review::review(set, &ledger).await;
    Ok(Activation::of(&generation, running.as_deref()))
}

/// Builds the generation and makes the activation durable. The chain is not changed yet.
async fn make_durable(
    set: &PolicySet,
    desired: &Desired<'_>,
    attempt: &Attempt,
    cause: &Cause,
    ledger: &mut Ledger,
    target: LoadTarget<'_>,
) -> Result<(Arc<Generation>, Option<Arc<Probation>>), Vec<Problem>> {
    let built = build(set, desired, attempt, cause, ledger).await?;
    ledger.held_back.check(&built.generation.identity, target.force)?;
    // An operator's rollback restores a generation that has run before, so no probation begins.
    let begun = match cause.how {
        How::Rollback => None,
        _ => probation::begin(
            target.chain,
            target.position,
            &built.generation,
            desired.last_activation,
            ledger,
        ),
    };
    let (probation, restores) = begun.unzip();
    let codes = built.code_to_store().into_iter().collect();
    let BuiltGeneration {
        generation, activated, ..
    } = built;
    let mut next = ledger.clone();
    next.activate(&desired.configured.name, activated, attempt.back_to, restores);
    if !is_same_generation(desired.running.as_ref(), &generation) {
        next.staged.take_if(|staged| staged.module == desired.configured.name);
    }
    set.persist(&next, codes)
        .await
        .map_err(|text| vec![Problem::new("", text)])?;
    *ledger = next;
    Ok((generation, probation))
}

/// Returns the activations of a module, as [`crate::PolicyManager::history`] describes.
pub(crate) async fn history(set: &PolicySet, module: Option<&str>) -> Result<Vec<ModuleHistory>, Vec<Problem>> {
    let ledger = set.ledger.lock().await;
    let chain = set.chain.load_full();
    let only = match module {
        Some(_) => Some(find_module(&chain, module)?),
        None => None,
    };
    let modules = chain.modules.iter().enumerate();
    let modules = modules.filter(|(position, _)| only.is_none_or(|only| only == *position));
    let shown = modules.map(|(_, module)| {
        let history = ledger.history.get(&*module.name);
        let active = module.running.as_ref().ok().map(|generation| generation.number);
        let pasts = history.iter().flat_map(|history| history.newest_first());
        ModuleHistory {
            module: module.name.to_string(),
            active,
            rollback: active
                .and_then(|active| history?.rollback_target(active))
                .map(|past| past.generation),
            activations: pasts
                .map(|past| PastActivation {
                    past: past.clone(),
                    kept: set.has_code(&past.digest),
                })
                .collect(),
        }
    });
    Ok(shown.collect())
}

/// Returns the digest of the files that the watched folder loaded last into a module.
pub(crate) async fn watched(set: &PolicySet, module: &str) -> Option<String> {
    set.ledger.lock().await.watched.get(module).cloned()
}

/// Stores the digest of the files that the watched folder loaded. If storing fails, the next start loads the same files
/// again, which changes nothing.
pub(crate) async fn remember_watched(set: &PolicySet, module: &str, digest: String) {
    let mut ledger = set.ledger.lock().await;
    ledger.watched.insert(module.to_owned(), digest);
    let _ = set.persist(&ledger, Vec::new()).await;
}
