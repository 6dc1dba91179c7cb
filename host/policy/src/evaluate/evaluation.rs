//! One unit of work: the instances of one connection's admission, one mail transaction or one notification, and the
//! questions asked of them in the chain's order.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::evaluate::chain::Chain;
use crate::evaluate::evaluator::{Evaluator, FaultSite};
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
use host_events::Event;
use host_mail::MessageId;
use host_sync::permit_pool::Permit;

/// Reason for an evaluation without an answer. Events have been emitted already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// A module faulted.
    Faulted,
    /// No instance was free in time.
    Overloaded,
    /// A module cannot run at all.
    Unavailable,
}

/// The outcome of asking one instance.
struct Outcome {
    result: Result<Opinion<Decision>, CallFailed>,
    /// True if the instance was made for the question.
    fresh: bool,
    /// Stage of the call that ended it.
    stage: &'static str,
}

/// The state of one module in a unit of work.
#[derive(Default)]
struct ModuleState {
    instance: Option<(Instance, InUse)>,
    /// Budgets used by instances that were released.
    usage: Usage,
    /// True once a question was answered.
    answered: bool,
    /// True once the observer was asked for an observation.
    started: bool,
    observation: Option<Box<dyn Observation>>,
}

/// One unit of work. Instances are made when they are needed.
pub(crate) struct Evaluation {
    evaluator: Arc<Evaluator>,
    pub(crate) chain: Arc<Chain>,
    route: ModuleRoute,
    context: CallContext,
    /// State by position in the chain. Dropped before the permit that its instances need.
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

    /// Settles who decides, the active generations or a staged candidate, by the session (or the
    /// message of a notification) and the client. What was settled stays.
    pub(crate) fn choose(&mut self, client: Option<IpAddr>) {
        match (self.context.origin.session, self.context.origin.message) {
            (Some(session), _) => self.route.choose(session, client),
            (None, message) => self.route.choose(message, client),
        }
    }

    /// The message became known; events name it from now on.
    pub(crate) fn about(&mut self, message: MessageId) {
        self.context.origin.message = Some(message);
        for (instance, _) in self.modules.iter_mut().filter_map(|state| state.instance.as_mut()) {
            instance.about(message);
        }
    }

    /// What the modules of this unit of work look up in.
    pub(crate) fn directory(&self) -> Arc<dyn Directory> {
        Arc::clone(&self.evaluator.directory)
    }

    /// Asks module after module until one has an opinion.
    pub(crate) async fn first_opinion(
        &mut self,
        question: &PreparedQuestion,
        wait: Duration,
    ) -> Result<Opinion<Decision>, Unanswered> {
        self.enter(question.role(), question.stage(), wait).await?;
        let mut opinion = Ok(None);
        for place in self.route.places() {
            let Some(generation) = self.serving(place, question.role()) else {
                continue;
            };
            opinion = self.ask(place, &generation, question).await;
            if !matches!(opinion, Ok(None)) {
                break;
            }
        }
        // Where no module keeps its instance there is nothing to have a right to.
        if self.modules.iter().all(|state| state.instance.is_none()) {
            self.permit = None;
        }
        opinion
    }

    /// Who is asked at a place of the chain, if anybody.
    pub(crate) fn serving(&self, place: usize, role: Role) -> Option<Arc<Generation>> {
        self.route.serving(place, role).map(Arc::clone)
    }

    /// Makes sure that the chain can be asked and that there is room for the instances.
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

    /// Completes when other work waits for this unit's instances; never if it holds none.
    pub(crate) async fn revoked(&mut self) {
        match &mut self.permit {
            Some(permit) => permit.revoked(self.last_answer).await,
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

    /// Asks one module. Call [`Self::enter`] first.
    pub(crate) async fn ask(
        &mut self,
        place: usize,
        generation: &Arc<Generation>,
        question: &PreparedQuestion,
    ) -> Result<Opinion<Decision>, Unanswered> {
        let began = Instant::now();
        generation.counters.call(began);
        if let Some(trial) = self.route.trial(place, generation) {
            trial.fault_budget().call(began);
        }
        self.start_observing(place, generation);
        let outcome = self.ask_instance(place, generation, question).await;
        let took = began.elapsed();
        self.last_answer = began + took;
        generation.counters.latency.record(took);
        self.observe(place, question, &outcome, took);
        outcome
            .result
            .map_err(|failed| self.failed(question.role(), &failed, place, generation, outcome.stage))
    }

    /// Asks one module about a connection. If a generation on trial faults, the one that it is to replace is asked in its
    /// place: a bad candidate locks no client out.
    pub(crate) async fn ask_with_fallback(
        &mut self,
        place: usize,
        generation: &Arc<Generation>,
        question: &PreparedQuestion,
    ) -> Result<Opinion<Decision>, Unanswered> {
        let opinion = self.ask(place, generation, question).await;
        match (&opinion, self.route.fallback(place).map(Arc::clone)) {
            (Err(Unanswered::Faulted), Some(proven)) if proven.serves(question.role()) => {
                // A record is of one generation.
                if let Some(state) = self.modules.get_mut(place) {
                    state.started = false;
                    if let Some(observation) = state.observation.take() {
                        observation.finished(self.context.now, self.context.origin);
                    }
                }
                self.ask(place, &proven, question).await
            }
            (Err(Unanswered::Faulted), Some(_)) => Ok(None),
            _ => opinion,
        }
    }

    async fn ask_instance(
        &mut self,
        place: usize,
        generation: &Arc<Generation>,
        question: &PreparedQuestion,
    ) -> Outcome {
        let stateless = self.chain.is_stateless(place, generation);
        let state = self.modules.get_mut(place);
        let is_first = state.as_ref().is_none_or(|state| !state.answered);
        let kept = state.and_then(|state| state.instance.take());
        // A stateless policy answers the same from any instance.
        let fresh = kept.is_none() && (is_first || !stateless);
        let acquired = match kept {
            Some(kept) => Ok(kept),
            None => self.acquire_instance(place, generation).await,
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
        // An instance that faulted is dropped: its store is poisoned.
        if let (Ok(_), Some(state)) = (&result, self.modules.get_mut(place)) {
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

    /// Takes an idle instance from the cache, or makes one.
    async fn acquire_instance(
        &mut self,
        place: usize,
        generation: &Arc<Generation>,
    ) -> Result<(Instance, InUse), CallFailed> {
        let mut context = self.context.clone();
        let state = self.modules.get(place);
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
        // Boxed: the future has kilobytes, which every question would move along though few need them.
        let instance = Box::pin(configured(&self.evaluator, generation, context, usage)).await?;
        Ok((instance, in_use))
    }

    /// Asks the observer for an observation, at a module's first question.
    fn start_observing(&mut self, place: usize, generation: &Arc<Generation>) {
        let mode = self.chain.modules.get(place).map(|module| module.configured.record);
        if let Some(state) = self.modules.get_mut(place).filter(|state| !state.started) {
            state.started = true;
            let (mode, context) = (mode.unwrap_or_default(), &self.context);
            let observer = &self.evaluator.observer;
            state.observation = observer.started(mode, generation, context.origin, &context.answers);
        }
    }

    fn observe(&mut self, place: usize, question: &PreparedQuestion, outcome: &Outcome, duration: Duration) {
        let recorded_body = self.chain.recorded_body;
        if let Some(observation) = self.modules.get_mut(place).and_then(|state| state.observation.as_mut()) {
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
        place: usize,
        generation: &Arc<Generation>,
        stage: &str,
    ) -> Unanswered {
        let fault = match failed {
            CallFailed::Fault(fault) => fault,
            CallFailed::Crowded => return self.overloaded(stage, Duration::ZERO),
        };
        let now = Instant::now();
        generation.counters.fault(fault.class, now);
        let trial = self.route.trial(place, generation);
        let site = FaultSite {
            candidate: &generation.candidate,
            generation: generation.number,
            stage,
            origin: self.context.origin,
            instead: match &trial {
                Some(_) if role == Role::Exemption && self.route.fallback(place).is_some() => {
                    "the generation before it was asked"
                }
                _ => self.chain.instead(role, place),
            },
        };
        self.evaluator.report(fault, site);
        if let Some(trial) = trial
            && let Some(tally) = trial.fault_budget().fault(now)
        {
            self.evaluator.observer.faulted(trial, tally);
        }
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

/// Makes an instance that is configured, in the place of instances that used up `usage` of the unit's budgets.
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
