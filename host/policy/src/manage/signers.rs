//! The signers of a reloaded configuration, applied to everything that runs: active generations, the staged candidate and
//! the generation that a rollback would restore. Used by reloads; the keys apply even if the rest of the chain could not
//! be changed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Map;

use crate::evaluate::chain::Chain;
use crate::manage::activation_history::{Cause, How};
use crate::manage::activation_store::{Artifact, Ledger};
use crate::manage::candidate::configured_code;
use crate::manage::desired::{Attempt, BuiltGeneration, Desired, Source, build};
use crate::manage::policy_set::{PolicySet, StageEnd};
use crate::manage::trusted_code::check_code;
use host_config::{Config, PolicyModule, Problem};
use host_engine::component::builtin;
use host_engine::generation::Generation;
use host_events::Event;

/// The effect of the signers on a chain that is not yet published.
pub(crate) struct SignerReview {
    /// A problem for each generation that runs without an accepted signature.
    pub(crate) problems: Vec<Problem>,
    /// Events to emit once the chain is published.
    pub(crate) events: Vec<Event>,
    /// Code of replacements, to store.
    pub(crate) codes: Vec<(String, Artifact)>,
    /// Reason for the end of a stage that ends with the change.
    pub(crate) stage_end: StageEnd,
}

/// Puts the signers of `config` in force for each module of `chain`. A generation without an accepted signature goes on
/// and is reported, or with `require_now` is replaced by the newest trusted code of the ledger, by the configured code
/// or by the built-in policy. A staged candidate without an accepted signature is dropped.
pub(crate) async fn apply_signers(
    set: &PolicySet,
    config: &Config,
    chain: &mut Chain,
    ledger: &mut Ledger,
    require_now: bool,
) -> SignerReview {
    let mut review = SignerReview {
        problems: Vec::new(),
        events: Vec::new(),
        codes: Vec::new(),
        stage_end: StageEnd::Replaced,
    };
    for (index, configured) in config.policies.iter().enumerate() {
        let key = format!("policy[{index}]");
        let signers = &configured.signed_by;
        let Some(position) = chain.modules.iter().position(|module| *module.name == configured.name) else {
            continue;
        };
        if let Some(staging) = chain
            .staging
            .clone()
            .filter(|staging| *staging.module == configured.name)
        {
            let code = &staging.generation.candidate.code;
            if check_code(set, code, signers, &key, None).await.is_err() {
                chain.staging = None;
                ledger.staged = None;
                review.stage_end = StageEnd::Untrusted;
            }
        }
        let Some(module) = chain.modules.get_mut(position) else {
            continue;
        };
        module.configured.signed_by.clone_from(signers);
        let resumes = module
            .probation
            .as_ref()
            .and_then(|probation| probation.resumes.as_ref());
        for probation in module.probation.iter().chain(resumes) {
            let code = &probation.previous.candidate.code;
            let trusted = check_code(set, code, signers, &key, None).await.is_ok();
            probation.is_trusted.store(trusted, Ordering::Relaxed);
        }
        let Ok(running) = module.running.clone() else {
            continue;
        };
        let beside = configured_code(configured).await.ok().map(|code| code.artifact);
        let code = &running.candidate.code;
        let Err(found) = check_code(set, code, signers, &key, beside.as_ref()).await else {
            continue;
        };
        let why: Vec<String> = found.iter().map(|problem| problem.text.clone()).collect();
        let untrusted = Untrusted {
            configured,
            key,
            running,
            why: why.join("; "),
        };
        if require_now {
            untrusted.replace(set, chain, position, ledger, &mut review).await;
        } else {
            untrusted.report(set, &mut review);
        }
    }
    review
}

/// An active generation without an accepted signature.
struct Untrusted<'a> {
    configured: &'a PolicyModule,
    key: String,
    running: Arc<Generation>,
    why: String,
}

impl Untrusted<'_> {
    /// Lets the generation go on: a problem at each reload, an event at the first.
    fn report(self, set: &PolicySet, review: &mut SignerReview) {
        let name = &self.configured.name;
        let number = self.running.number;
        let text = format!(
            "generation {number} goes on although its code is not trusted: {}",
            self.why
        );
        review.problems.push(Problem::new(
            format!("{}.signed-by", self.key),
            format!("{text}; load trusted code, or posthouse reload --require-now"),
        ));
        let known = set.standing(name).untrusted.is_some_and(|(known, _)| known == number);
        if !known {
            review.events.push(self.event("it goes on".to_owned()));
        }
        set.set_standing(name, |standing| standing.untrusted = Some((number, text)));
    }

    /// Replaces the generation. Without any trusted code that runs, the module cannot run.
    async fn replace(
        self,
        set: &PolicySet,
        chain: &mut Chain,
        position: usize,
        ledger: &mut Ledger,
        review: &mut SignerReview,
    ) {
        let name = self.configured.name.clone();
        let built = self.build_trusted(set, ledger).await;
        chain.drop_staging_of(&name);
        ledger.staged.take_if(|staged| staged.module == name);
        ledger.restore_later(&name, None);
        let Some(module) = chain.modules.get_mut(position) else {
            return;
        };
        module.probation = None;
        let Some((built, back_to)) = built else {
            let error = format!("no trusted code runs: {}", self.why);
            review
                .events
                .push(self.event("no trusted code runs: clients are answered 421".to_owned()));
            review.events.push(Event::PolicyUnavailable {
                policy: name,
                error: error.clone(),
            });
            module.running = Err(error);
            return;
        };
        let now = &built.generation;
        let digest = &now.candidate.code.digest;
        review.events.push(self.event(format!(
            "generation {} with {} {}, digest {digest}, took its place",
            now.number, now.description.name, now.description.version
        )));
        review.codes.extend(built.code_to_store());
        module.running = Ok(Arc::clone(now));
        ledger.activate(&name, built.activated, back_to, None);
    }

    /// Builds the newest trusted code that runs, with the settings in force if the code takes them.
    async fn build_trusted(&self, set: &PolicySet, ledger: &mut Ledger) -> Option<(BuiltGeneration, Option<u64>)> {
        let cause = Cause::new(How::Reload, How::Reload.name(), self.why.clone());
        let last_activation = ledger.modules.get(&self.configured.name).cloned();
        let desired = Desired {
            key: self.key.clone(),
            configured: self.configured,
            code: configured_code(self.configured).await,
            last_activation: last_activation.as_ref(),
            running: Some(Arc::clone(&self.running)),
            keeps_running: false,
        };
        for attempt in self.attempts(ledger) {
            if let Ok(built) = build(set, &desired, &attempt, &cause, ledger).await {
                return Some((built, attempt.back_to));
            }
        }
        None
    }

    fn attempts(&self, ledger: &Ledger) -> Vec<Attempt> {
        let in_force = &self.running.candidate.settings;
        let attempt = |code: &Source, settings: &Map<_, _>, origin: &str, back_to| Attempt {
            code: code.clone(),
            settings: settings.clone(),
            origin: origin.to_owned(),
            back_to,
            core_dumps: None,
        };
        let mut attempts = Vec::new();
        let history = ledger.history.get(&self.configured.name);
        for past in history.into_iter().flat_map(|history| history.newest_first()) {
            let code = Source::Stored(past.digest.clone());
            attempts.extend(
                [in_force, &past.settings]
                    .map(|settings| attempt(&code, settings, &past.origin, Some(past.generation))),
            );
        }
        let configured = &self.configured.settings;
        if let Some(file) = &self.configured.file {
            let origin = file.display().to_string();
            attempts
                .extend([in_force, configured].map(|settings| attempt(&Source::Configured, settings, &origin, None)));
        }
        let built_in = Source::Given(Artifact::unsigned(builtin::DEFAULT));
        attempts
            .extend([in_force, configured, &Map::new()].map(|settings| attempt(&built_in, settings, "built-in", None)));
        attempts
    }

    /// Returns Event 5130. `instead` is what became of the generation.
    fn event(&self, instead: String) -> Event {
        Event::PolicyUntrusted {
            policy: self.configured.name.clone(),
            generation: self.running.number,
            digest: self.running.candidate.code.digest.clone(),
            problem: self.why.clone(),
            instead,
        }
    }
}
