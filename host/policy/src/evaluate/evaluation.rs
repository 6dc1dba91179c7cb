//! The evaluation of a unit of work: holds the instances of an admission, a mail transaction or a notification, and
//! asks the questions in the order of the chain.
//!
//! Used by `host_questions` and `policy_transaction`; [`configured`] also serves the replayer and the harness.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::evaluate::chain::Chain;
use crate::evaluate::evaluator::{Evaluator, FaultSite};
use crate::evaluate::fault_budget::FaultTreatment;
use crate::evaluate::fault_origin::FaultOrigin;
use crate::evaluate::observer::{Observation, ObservedAnswer};
use crate::evaluate::prepared_question::PreparedQuestion;
use crate::evaluate::route::ModuleRoute;
use host_contract::{Decision, Origin};
use host_directory::Directory;
use host_engine::component::Role;
use host_engine::fault::CallFailed;
use host_engine::generation::{Generation, InUse};
use host_engine::instance::Instance;
use host_engine::instance_state::{CallContext, Usage};
use host_engine::validate::{InvalidAnswer, Opinion};
use host_events::{Event, Events};
use host_mail::MessageId;
use host_sync::permit_pool::Permit;

/// Reason for an evaluation without an answer. Events have been emitted already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// A module faulted.
    Faulted,
    /// The pool of instances was exhausted for too long.
    Overloaded,
    /// A module cannot run at all.
    Unavailable,
}

/// The outcome of a question to an instance.
struct Outcome {
    result: Result<Opinion<Decision>, CallFailed>,
    /// True if the instance was made for this question.
    fresh: bool,
    /// Stage of the last call, for events.
    stage: &'static str,
}

/// The state of a module in a unit of work.
#[derive(Default)]
struct ModuleState {
    instance: Option<(Instance, InUse)>,
    /// Budgets used by instances that were released.
    usage: Usage,
    /// True once a question was answered.
    answered: bool,
    /// True once the observer was asked for an observation, at the first question.
    started: bool,
    observation: Option<Box<dyn Observation>>,
}

/// A unit of work. Instances are made on demand and dropped with the evaluation.
pub(crate) struct Evaluation {
    evaluator: Arc<Evaluator>,
    pub(crate) chain: Arc<Chain>,
    route: ModuleRoute,
    context: CallContext,
    /// State by position in the chain. Declared before the permit, so that instances are dropped first.
    modules: Vec<ModuleState>,
    permit: Option<Permit>,
    /// Time of the last answer.
    last_answer: Instant,
}

impl Evaluation {
    pub(crate) fn new(evaluator: &Arc<Evaluator>, chain: Arc<Chain>, origin: Origin) -> Self {
        Self {
            evaluator: Arc::clone(evaluator),
            context: evaluator.context(origin),
            modules: Vec::new(),
            permit: None,
            last_answer: Instant::now(),
            route: ModuleRoute::new(Arc::clone(&chain)),
            chain,
        }
    }

    /// Selects the active generations or the staged candidate, by the session (or by the message, for a notification)
    /// and by the client. Only the first call has an effect.
    pub(crate) fn choose(&mut self, client: Option<IpAddr>) {
        match (self.context.origin.session, self.context.origin.message) {
            (Some(session), _) => self.route.choose(session, client),
            (None, message) => self.route.choose(message, client),
        }
    }

    /// Sets the message that events and instances name from now on.
    pub(crate) fn about(&mut self, message: MessageId) {
        self.context.origin.message = Some(message);
        for (instance, _) in self.modules.iter_mut().filter_map(|state| state.instance.as_mut()) {
            instance.about(message);
        }
    }

    /// Returns the directory that answers the modules' lookups.
    pub(crate) fn directory(&self) -> Arc<dyn Directory> {
        Arc::clone(&self.evaluator.directory)
    }

    /// Asks the modules in order until the first opinion or fault. `wait` bounds the time until an instance is free.
    pub(crate) async fn first_opinion(
        &mut self,
        question: &PreparedQuestion,
        wait: Duration,
    ) -> Result<Opinion<Decision>, Unanswered> {
        self.enter(question.role(), question.stage(), wait).await?;
        let mut opinion = Ok(None);
        for position in self.route.positions() {
            let Some(generation) = self.generation_for(position, question.role()) else {
                continue;
            };
            opinion = self.ask(position, &generation, question).await;
            if matches!(opinion, Err(Unanswered::Faulted)) {
                self.count_fault(position, &generation, question, None).await;
            }
            if !matches!(opinion, Ok(None)) {
                break;
            }
        }
        // Stateless modules keep no instance; the permit is not needed then.
        if self.modules.iter().all(|state| state.instance.is_none()) {
            self.permit = None;
        }
        opinion
    }

    /// Returns the generation that answers `role` at `position`; `None` if the module does not play the role or cannot
    /// run.
    pub(crate) fn generation_for(&self, position: usize, role: Role) -> Option<Arc<Generation>> {
        self.route.generation_for(position, role).map(Arc::clone)
    }

    /// Acquires the permit for all instances that `role` needs, waiting at most `wait`. Fails if a module cannot run.
    pub(crate) async fn enter(&mut self, role: Role, stage: &str, wait: Duration) -> Result<(), Unanswered> {
        if !self.chain.is_whole() {
            return Err(Unanswered::Unavailable);
        }
        let needed = self.route.count(role);
        if self.permit.is_some() || needed == 0 {
            return Ok(());
        }
        match self.evaluator.runtime.slots(needed, wait).await {
            Ok(permit) => {
                self.permit = Some(permit);
                self.modules.resize_with(self.chain.modules.len(), ModuleState::default);
                Ok(())
            }
            Err(overload) => Err(self.overloaded(stage, overload.waited)),
        }
    }

    /// Completes when other work waits for the instances of this evaluation; never while no instance is held. Cancel
    /// safe.
    pub(crate) async fn revoked(&mut self) {
        match &mut self.permit {
            Some(permit) => permit.revoked(self.last_answer.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Releases all instances. The next question gets new ones; call and log budgets carry over.
    pub(crate) fn release(&mut self) {
        for state in &mut self.modules {
            if let Some((instance, _)) = state.instance.take() {
                state.usage = instance.usage();
            }
        }
        self.permit = None;
    }

    fn overloaded(&self, stage: &str, waited: Duration) -> Unanswered {
        self.evaluator.events.emit(Event::PolicyOverload {
            stage: stage.to_owned(),
            waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
        });
        Unanswered::Overloaded
    }

    /// Asks the module at `position`. [`Self::enter`] must have succeeded before.
    pub(crate) async fn ask(
        &mut self,
        position: usize,
        generation: &Arc<Generation>,
        question: &PreparedQuestion,
    ) -> Result<Opinion<Decision>, Unanswered> {
        let began = Instant::now();
        generation.counters.call(began);
        if let Some(trial) = self.route.trial(position, generation) {
            trial.fault_budget().call(began);
        }
        self.start_observing(position, generation);
        let outcome = self.ask_instance(position, generation, question).await;
        let duration = began.elapsed();
        self.last_answer = began + duration;
        generation.counters.latency.record(duration);
        self.observe(position, question, &outcome, duration);
        outcome
            .result
            .map_err(|failed| self.failed(question.role(), &failed, position, generation, outcome.stage))
    }

    /// Asks the module at `position` about a connection. If a generation on trial faults, the proven generation is
    /// asked instead, so that a bad candidate locks no client out.
    pub(crate) async fn ask_with_fallback(
        &mut self,
        position: usize,
        generation: &Arc<Generation>,
        question: &PreparedQuestion,
    ) -> Result<Opinion<Decision>, Unanswered> {
        let opinion = self.ask(position, generation, question).await;
        match (&opinion, self.route.fallback(position).map(Arc::clone)) {
            (Err(Unanswered::Faulted), Some(proven)) if proven.serves(question.role()) => {
                self.finish_observation(position);
                let opinion = self.ask(position, &proven, question).await;
                let is_shared = opinion.is_err();
                self.count_fault(position, generation, question, Some(is_shared)).await;
                opinion
            }
            (Err(Unanswered::Faulted), proven) => {
                self.count_fault(position, generation, question, Some(false)).await;
                proven.map_or(opinion, |_| Ok(None))
            }
            _ => opinion,
        }
    }

    /// Counts a fault of a generation on trial, unless the former generation faults at the same question, too.
    /// `is_shared` is known if the former generation has been asked.
    async fn count_fault(
        &mut self,
        position: usize,
        generation: &Arc<Generation>,
        question: &PreparedQuestion,
        is_shared: Option<bool>,
    ) {
        let Some(trial) = self.route.trial(position, generation) else {
            return;
        };
        let (budget, origin) = (trial.fault_budget(), FaultOrigin::of(question.question()));
        let is_shared = match (budget.treatment(&origin, Instant::now()), is_shared) {
            (FaultTreatment::Ignore, _) => return,
            (_, Some(is_shared)) => is_shared,
            (FaultTreatment::Count, None) => false,
            (FaultTreatment::Compare, None) => self.former_faults(position, question).await,
        };
        let now = Instant::now();
        if is_shared {
            budget.shared_fault(origin, now);
        } else if let Some(tally) = budget.fault(origin, now) {
            self.evaluator.observer.faulted(trial, tally);
        }
    }

    /// Asks the former generation the question at which its successor faulted, within the usual limits. The answer is
    /// dropped, without events or records. True unless the former generation answers.
    async fn former_faults(&mut self, position: usize, question: &PreparedQuestion) -> bool {
        let former = self.route.fallback(position).map(Arc::clone);
        let Some(former) = former.filter(|former| former.serves(question.role())) else {
            return false;
        };
        self.finish_observation(position);
        let events = std::mem::replace(&mut self.context.events, Events::discard());
        let outcome = self.ask_instance(position, &former, question).await;
        self.context.events = events;
        if let Some(state) = self.modules.get_mut(position) {
            state.instance = None;
        }
        outcome.result.is_err()
    }

    /// Ends the observation of a module, since a record covers a single generation.
    fn finish_observation(&mut self, position: usize) {
        if let Some(state) = self.modules.get_mut(position) {
            state.started = false;
            if let Some(observation) = state.observation.take() {
                observation.finished(self.context.now, self.context.origin);
            }
        }
    }

    async fn ask_instance(
        &mut self,
        position: usize,
        generation: &Arc<Generation>,
        question: &PreparedQuestion,
    ) -> Outcome {
        let stateless = self.chain.is_stateless(position, generation);
        let state = self.modules.get_mut(position);
        let is_first = state.as_ref().is_none_or(|state| !state.answered);
        let kept = state.and_then(|state| state.instance.take());
        // Every instance of a stateless policy answers alike, so a later question is not marked as fresh.
        let fresh = kept.is_none() && (is_first || !stateless);
        let acquired = match kept {
            Some(kept) => Ok(kept),
            None => self.acquire_instance(position, generation).await,
        };
        let (mut instance, in_use) = match acquired {
            Ok(acquired) => acquired,
            Err(failed) => {
                return Outcome {
                    result: Err(failed),
                    fresh,
                    stage: "configure",
                };
            }
        };
        instance.refuel(self.evaluator.runtime.ration(question.stage()));
        let result = question.ask(&mut instance).await;
        // A faulted instance is dropped: its store is poisoned.
        if let (Ok(_), Some(state)) = (&result, self.modules.get_mut(position)) {
            state.answered = true;
            let kept = if stateless {
                state.usage = instance.usage();
                self.evaluator.runtime.keep(&self.chain.idle, generation, instance)
            } else {
                Some(instance)
            };
            state.instance = kept.map(|instance| (instance, in_use));
        }
        Outcome {
            result,
            fresh,
            stage: question.stage(),
        }
    }

    /// Takes an idle instance from the cache, or makes a new instance.
    async fn acquire_instance(
        &mut self,
        position: usize,
        generation: &Arc<Generation>,
    ) -> Result<(Instance, InUse), CallFailed> {
        let mut context = self.context.clone();
        let state = self.modules.get(position);
        if let Some(observation) = state.and_then(|state| state.observation.as_ref()) {
            context.answers = observation.services();
        }
        let in_use = InUse::new(generation);
        let usage = state.map(|state| state.usage).unwrap_or_default();
        if let Some(mut instance) = self.chain.idle.take(generation) {
            instance.serve(context);
            instance.restore_usage(usage);
            return Ok((instance, in_use));
        }
        // Boxed: the future has kilobytes, and most questions do not need it.
        let instance = Box::pin(configured(&self.evaluator, generation, context, usage)).await?;
        Ok((instance, in_use))
    }

    /// Asks the observer for an observation, at the first question to a module.
    fn start_observing(&mut self, position: usize, generation: &Arc<Generation>) {
        let mode = self.chain.modules.get(position).map(|module| module.configured.record);
        if let Some(state) = self.modules.get_mut(position).filter(|state| !state.started) {
            state.started = true;
            let (mode, context) = (mode.unwrap_or_default(), &self.context);
            let observer = &self.evaluator.observer;
            state.observation = observer.started(mode, generation, context.origin, &context.answers);
        }
    }

    fn observe(&mut self, position: usize, question: &PreparedQuestion, outcome: &Outcome, duration: Duration) {
        let recorded_body = self.chain.recorded_body;
        if let Some(observation) = self
            .modules
            .get_mut(position)
            .and_then(|state| state.observation.as_mut())
        {
            observation.answered(ObservedAnswer {
                question: question.question(),
                fresh: outcome.fresh,
                result: &outcome.result,
                duration,
                recorded_body,
            });
        }
    }

    fn failed(
        &self,
        role: Role,
        failed: &CallFailed,
        position: usize,
        generation: &Arc<Generation>,
        stage: &str,
    ) -> Unanswered {
        let fault = match failed {
            CallFailed::Fault(fault) => fault,
            CallFailed::Crowded => return self.overloaded(stage, Duration::ZERO),
        };
        generation.counters.fault(fault.class, Instant::now());
        let trial = self.route.trial(position, generation);
        let site = FaultSite {
            candidate: &generation.candidate,
            generation: generation.number,
            stage,
            origin: self.context.origin,
            instead: match &trial {
                Some(_) if role == Role::Exemption && self.route.fallback(position).is_some() => {
                    "the generation before it was asked"
                }
                _ => self.chain.fault_effect(role, position),
            },
        };
        self.evaluator.report(fault, site);
        Unanswered::Faulted
    }
}

impl Drop for Evaluation {
    /// Ends the observations.
    fn drop(&mut self) {
        for state in &mut self.modules {
            if let Some(observation) = state.observation.take() {
                observation.finished(self.context.now, self.context.origin);
            }
        }
    }
}

/// Makes a configured instance, pre-initialised if possible. `usage` is what earlier instances used of the unit's
/// budgets.
pub(crate) async fn configured(
    evaluator: &Evaluator,
    generation: &Generation,
    context: CallContext,
    usage: Usage,
) -> Result<Instance, CallFailed> {
    let candidate = &generation.candidate;
    if let Some(code) = generation.prepared() {
        let mut instance = Instance::of(&evaluator.runtime, candidate, Arc::clone(code), context).await?;
        instance.restore_usage(usage);
        return Ok(instance);
    }
    let mut instance = Instance::new(&evaluator.runtime, candidate, context).await?;
    instance.restore_usage(usage);
    instance.refuel(evaluator.runtime.ration("configure"));
    match instance.configure(&generation.settings).await? {
        Ok(()) => Ok(instance),
        Err(complaints) => {
            let what: Vec<String> = complaints
                .into_iter()
                .map(|(key, text)| format!("{key}: {text}"))
                .collect();
            let invalid = InvalidAnswer::new(format!(
                "refuses the settings it took when it was loaded: {}",
                what.join("; ")
            ));
            Err(instance.invalid_answer(&invalid))
        }
    }
}
