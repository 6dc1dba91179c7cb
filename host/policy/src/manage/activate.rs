//! One module's way to another generation: chosen, proven, durable, and only then in force.

use std::sync::Arc;

use serde::Serialize;

use crate::evaluate::chain::Chain;
use crate::evaluate::trial::Probation;
use crate::manage::activation_history::{Cause, How, Past};
use crate::manage::activation_store::Ledger;
use crate::manage::changes::Changes;
use crate::manage::desired::{Attempt, Desired, Ready, Source, build};
use crate::manage::policy_set::{PolicySet, StageEnd, find, is_the_same};
use crate::manage::probation;
use crate::manage::request::LoadRequest;
use host_config::Problem;
use host_engine::generation::Generation;
use host_events::Event;
use host_mail::Timestamp;

/// What an activation did.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Activation {
    /// Module of the chain.
    pub module: String,
    /// As the policy calls itself.
    pub version: String,
    /// Of the code: SHA-256, hexadecimal.
    pub digest: String,
    /// In force now.
    pub generation: u64,
    /// In force before; none if the module could not run, the same if nothing changed.
    pub previous: Option<u64>,
    /// What is different now.
    #[serde(default)]
    pub changes: Changes,
    /// Units of work (admissions, mail transactions, notifications) that the generation before had in
    /// hand at that moment; they finish with it.
    #[serde(default)]
    pub in_hand: u64,
    /// When the oldest of them began; none if there was none.
    #[serde(default)]
    pub oldest: Option<Timestamp>,
}

impl Activation {
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

/// What was active in a module, and what is.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ModuleHistory {
    /// Module of the chain.
    pub module: String,
    /// In force now; none if nothing can run.
    pub active: Option<u64>,
    /// Where a rollback without a generation would lead.
    pub rollback: Option<u64>,
    /// Newest first.
    pub activations: Vec<PastActivation>,
}

/// One activation that was.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PastActivation {
    /// What is known of it.
    #[serde(flatten)]
    pub past: Past,
    /// Its code is kept: it can be gone back to.
    pub kept: bool,
}

/// Where something is being loaded.
struct Trying<'a> {
    chain: &'a Chain,
    place: usize,
    /// Even if it is held back.
    force: bool,
}

/// See [`crate::PolicyManager::load`].
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

/// See [`crate::PolicyManager::roll_back`].
pub(crate) async fn roll_back(
    set: &PolicySet,
    module: Option<&str>,
    to: Option<u64>,
    cause: Cause,
) -> Result<Activation, Vec<Problem>> {
    let mut target = 0;
    let back = |desired: &Desired<'_>, ledger: &Ledger| {
        let past = way_back(set, desired, ledger, to)?;
        target = past.generation;
        Ok(Attempt {
            code: Source::Stored(past.digest.clone()),
            settings: past.settings.clone(),
            origin: past.origin.clone(),
            back_to: Some(past.generation),
            core_dumps: None,
        })
    };
    let done = activate(set, module, cause.clone(), true, back).await?;
    set.evaluator.events.emit(Event::PolicyRolledBack {
        policy: done.module.clone(),
        generation: done.generation,
        digest: done.digest.clone(),
        was: done.previous,
        to: target,
        how: cause.how.name().to_owned(),
        by: cause.by,
        reason: cause.why,
    });
    Ok(done)
}

fn way_back<'a>(
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
            .and_then(|history| history.before(running.number))
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

/// Makes what is chosen the module's generation: durable first, then in force for all work that
/// starts from now on. A choice that fails changes nothing, and is Event 5004; no choice is
/// only an error. Without a name the module must be the only one.
///
/// Not to be cancelled half way: run it in a task of its own.
pub(crate) async fn activate(
    set: &PolicySet,
    module: Option<&str>,
    cause: Cause,
    force: bool,
    choose: impl FnOnce(&Desired<'_>, &Ledger) -> Result<Attempt, Vec<Problem>> + Send,
) -> Result<Activation, Vec<Problem>> {
    let mut ledger = set.ledger.lock().await;
    let chain = set.chain.load_full();
    let place = find(&chain, module)?;
    let running = chain
        .modules
        .get(place)
        .and_then(|module| module.running.as_ref().ok().cloned());
    let name = chain
        .modules
        .get(place)
        .map(|module| Arc::clone(&module.name))
        .unwrap_or_default();
    let was = ledger.modules.get(&*name).cloned();
    let desired = Desired::of_module(&chain, place, was.as_ref()).await?;
    let attempt = choose(&desired, &ledger)?;
    let trying = Trying {
        chain: &chain,
        place,
        force,
    };
    let made = make_durable(set, &desired, &attempt, &cause, &mut ledger, trying).await;
    let (generation, probation) = made.inspect_err(|problems| {
        set.refused(&name, desired.digest(&attempt), &cause.by, problems);
    })?;
    let mut next = Chain::clone(&chain);
    if let Some(module) = next.modules.get_mut(place) {
        module.running = Ok(Arc::clone(&generation));
        module.probation = probation;
    }
    if !is_the_same(running.as_ref(), &generation) {
        next.drop_staging_of(&name);
    }
    set.publish(next, StageEnd::Replaced, &cause.by);
    set.announce(&generation);
    Ok(Activation::of(&generation, running.as_deref()))
}

/// Durable when it returns, not yet in force.
async fn make_durable(
    set: &PolicySet,
    desired: &Desired<'_>,
    attempt: &Attempt,
    cause: &Cause,
    ledger: &mut Ledger,
    trying: Trying<'_>,
) -> Result<(Arc<Generation>, Option<Arc<Probation>>), Vec<Problem>> {
    let ready = build(set, desired, attempt, cause, ledger).await?;
    ledger.held_back.check(&ready.generation.identity, trying.force)?;
    // What an operator goes back to has been tried.
    let begun = match cause.how {
        How::Rollback => None,
        _ => probation::after(trying.chain, trying.place, &ready.generation, desired.was, ledger),
    };
    let (probation, restores) = begun.unzip();
    let codes = ready.to_keep().into_iter().collect();
    let Ready {
        generation, activated, ..
    } = ready;
    let mut next = ledger.clone();
    next.activate(&desired.configured.name, activated, attempt.back_to, restores);
    if !is_the_same(desired.running.as_ref(), &generation) {
        next.staged.take_if(|staged| staged.module == desired.configured.name);
    }
    set.keep(&next, codes)
        .await
        .map_err(|text| vec![Problem::new("", text)])?;
    *ledger = next;
    Ok((generation, probation))
}

/// See [`crate::PolicyManager::history`].
pub(crate) async fn history(set: &PolicySet, module: Option<&str>) -> Result<Vec<ModuleHistory>, Vec<Problem>> {
    let ledger = set.ledger.lock().await;
    let chain = set.chain.load_full();
    let wanted = match module {
        Some(_) => Some(find(&chain, module)?),
        None => None,
    };
    let places = chain.modules.iter().enumerate();
    let modules = places.filter(|(place, _)| wanted.is_none_or(|wanted| wanted == *place));
    let shown = modules.map(|(_, module)| {
        let history = ledger.history.get(&*module.name);
        let active = module.running.as_ref().ok().map(|generation| generation.number);
        let pasts = history.iter().flat_map(|history| history.newest_first());
        ModuleHistory {
            module: module.name.to_string(),
            active,
            rollback: active
                .and_then(|active| history?.before(active))
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

/// What the watched folder gave last to a module.
pub(crate) async fn watched(set: &PolicySet, module: &str) -> Option<String> {
    set.ledger.lock().await.watched.get(module).cloned()
}

/// Remembers what the watched folder gave. If that fails, the same is loaded again at the next
/// start, which changes nothing.
pub(crate) async fn remember_watched(set: &PolicySet, module: &str, what: String) {
    let mut ledger = set.ledger.lock().await;
    ledger.watched.insert(module.to_owned(), what);
    let _ = set.keep(&ledger, Vec::new()).await;
}
