//! One unit of work: the instances of one connection's admission, one mail transaction or one
//! notification, and the questions put to them in the chain's order.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::evaluate::chain::Chain;
use crate::evaluate::route::Route;
use crate::manage::supervisor::{Note, Notes};
use crate::record::recorder::{self, Recording, Takers};
use crate::services::live_services::LiveServices;
use host_contract::{Decision, Origin};
use host_directory::Directory;
use host_engine::component::Role;
use host_engine::fault::{CallFailed, Fault};
use host_engine::generation::{Candidate, Generation};
use host_engine::host_call::HostServices;
use host_engine::instance::Instance;
use host_engine::instance_state::CallContext;
use host_engine::instance_state::Usage;
use host_engine::message_view::MessageView;
use host_engine::metrics::InUse;
use host_engine::runtime::Runtime;
use host_engine::validate::{InvalidAnswer, Opinion};
use host_events::{Event, Events, PolicyFault};
use host_mail::{MessageId, Timestamp};
use host_sync::permit_pool::Permit;

/// What every unit of work needs.
pub(crate) struct Core {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) answers: Arc<dyn HostServices>,
    /// The same, where it is the host as it stands.
    pub(crate) live: Option<Arc<LiveServices>>,
    pub(crate) events: Events,
    pub(crate) takers: Takers,
    pub(crate) notes: Notes,
}

impl Core {
    pub(crate) fn new(runtime: Runtime, live: LiveServices, directory: Arc<dyn Directory>, events: Events) -> Self {
        let live = Arc::new(live);
        Self {
            live: Some(live.clone()),
            ..Self::answering(runtime, live, directory, events)
        }
    }

    /// With answers from elsewhere.
    pub(crate) fn answering(
        runtime: Runtime,
        answers: Arc<dyn HostServices>,
        directory: Arc<dyn Directory>,
        events: Events,
    ) -> Self {
        Self {
            runtime: Arc::new(runtime),
            answers,
            live: None,
            directory,
            events,
            takers: Takers::default(),
            notes: Notes::default(),
        }
    }

    /// The same, without a word to the operator: for candidates that only want to be tried.
    pub(crate) fn quiet(&self) -> Self {
        Self {
            runtime: Arc::clone(&self.runtime),
            directory: Arc::clone(&self.directory),
            answers: Arc::clone(&self.answers),
            live: None,
            events: Events::discard(),
            takers: Takers::default(),
            notes: Notes::default(),
        }
    }

    pub(crate) fn surroundings(&self, origin: Origin) -> CallContext {
        CallContext {
            answers: Arc::clone(&self.answers),
            events: self.events.clone(),
            now: Timestamp::now(),
            origin,
        }
    }

    /// Event 4037. A candidate has no number yet: 0.
    pub(crate) fn report(&self, fault: &Fault, at: FaultSite<'_>) {
        self.events.emit(Event::PolicyFault {
            fault: at.describe(fault),
        });
    }
}

/// Where a fault happened.
#[derive(Clone, Copy)]
pub(crate) struct FaultSite<'a> {
    pub(crate) candidate: &'a Candidate,
    pub(crate) generation: u64,
    pub(crate) stage: &'a str,
    pub(crate) origin: Origin,
    pub(crate) instead: &'a str,
}

impl FaultSite<'_> {
    /// A fault as Event 4037 has it.
    pub(crate) fn describe(&self, fault: &Fault) -> PolicyFault {
        PolicyFault {
            class: fault.class.name().to_owned(),
            policy: self.candidate.module.to_string(),
            digest: self.candidate.code.digest.clone(),
            generation: self.generation,
            stage: self.stage.to_owned(),
            code: fault.code.clone(),
            function: fault.place.function.clone(),
            location: fault.place.location.clone(),
            stderr: fault.stderr.clone(),
            session: self.origin.session.map(|id| id.to_string()),
            message: self.origin.message.map(|id| id.to_string()),
            instead: self.instead.to_owned(),
            core_dump: fault.core_dump.clone(),
        }
    }
}

/// A question as it is put to one module.
pub(crate) trait Question: Sync {
    type Answer: Send + Clone + Into<Decision>;
    const ROLE: Role;
    /// As events have it.
    const STAGE: &'static str;

    fn put(&self, instance: &mut Instance) -> impl Future<Output = Result<Opinion<Self::Answer>, CallFailed>> + Send;

    /// As a record has it, with so many bytes of a message's body.
    fn recorded(&self, body: u64) -> Result<host_contract::Question, std::io::Error>;

    /// What this generation answered before, where it cannot but answer the same.
    fn remembered(&self, _: &Generation) -> Option<Opinion<Self::Answer>> {
        None
    }

    /// Such an answer was given.
    fn remember(&self, _: &Runtime, _: &Generation, _: &Opinion<Self::Answer>) {}

    /// The message it is about.
    fn message(&self) -> Option<&MessageView> {
        None
    }
}

/// Why the chain gave no answer. What had to be logged has been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// A module faulted.
    Faulted,
    /// No instance was free in time.
    Overloaded,
    /// A module cannot run at all.
    Unavailable,
}

/// What came of a question that was put.
struct PutResult<A> {
    result: Result<Opinion<A>, CallFailed>,
    /// The instance was made for it.
    fresh: bool,
    /// Where it ended.
    stage: &'static str,
}

/// A module's place in a unit of work.
#[derive(Default)]
struct ModuleState {
    instance: Option<(Instance, InUse)>,
    /// By instances that were given back.
    usage: Usage,
    /// It has answered a question.
    begun: bool,
    /// It was asked before.
    known: bool,
    /// If anybody wants it.
    recording: Option<Recording>,
}

/// See the module. Instances are made when they are needed.
pub(crate) struct Evaluation {
    core: Arc<Core>,
    pub(crate) chain: Arc<Chain>,
    route: Route,
    context: CallContext,
    /// By place in the chain. Dropped before the slots they stand in.
    modules_state: Vec<ModuleState>,
    slots: Option<Permit>,
    /// When the last question was answered.
    asked: Instant,
}

impl Evaluation {
    pub(crate) fn new(core: &Arc<Core>, chain: Arc<Chain>, origin: Origin) -> Self {
        Self {
            core: Arc::clone(core),
            context: core.surroundings(origin),
            modules_state: Vec::new(),
            slots: None,
            asked: Instant::now(),
            route: Route::new(Arc::clone(&chain)),
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
        for (instance, _) in self
            .modules_state
            .iter_mut()
            .filter_map(|module_state| module_state.instance.as_mut())
        {
            instance.about(message);
        }
    }

    /// What the modules of this unit of work look up in.
    pub(crate) fn directory(&self) -> Arc<dyn Directory> {
        Arc::clone(&self.core.directory)
    }

    /// Asks module after module until one has an opinion.
    pub(crate) async fn first_opinion<Q: Question>(
        &mut self,
        question: &Q,
        wait: Duration,
    ) -> Result<Opinion<Q::Answer>, Unanswered> {
        self.enter(Q::ROLE, Q::STAGE, wait).await?;
        let mut opinion = Ok(None);
        for place in self.route.places() {
            let Some(generation) = self.serving(place, Q::ROLE) else {
                continue;
            };
            opinion = self.ask(place, &generation, question).await;
            if !matches!(opinion, Ok(None)) {
                break;
            }
        }
        // Where no module keeps its instance there is nothing to have a right to.
        if self
            .modules_state
            .iter()
            .all(|module_state| module_state.instance.is_none())
        {
            self.slots = None;
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
        if self.slots.is_some() || needed == 0 {
            return Ok(());
        }
        match self.core.runtime.slots(needed, wait).await {
            Ok(slots) => {
                self.slots = Some(slots);
                self.modules_state
                    .resize_with(self.chain.modules.len(), ModuleState::default);
                Ok(())
            }
            Err(overload) => Err(self.overloaded(stage, overload.waited)),
        }
    }

    /// Completes when other work waits for this unit's instances; never if it holds none.
    pub(crate) async fn revoked(&mut self) {
        match &mut self.slots {
            Some(slots) => slots.revoked(self.asked).await,
            None => std::future::pending().await,
        }
    }

    /// Releases all instances. The next question gets new ones; call and log budgets carry over.
    pub(crate) fn release(&mut self) {
        for module_state in &mut self.modules_state {
            if let Some((instance, _)) = module_state.instance.take() {
                module_state.usage = instance.usage();
            }
        }
        self.slots = None;
    }

    fn overloaded(&self, stage: &str, waited: Duration) -> Unanswered {
        self.core.events.emit(Event::PolicyOverload {
            stage: stage.to_owned(),
            waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
        });
        Unanswered::Overloaded
    }

    /// Asks one module. Call [`Self::enter`] first.
    pub(crate) async fn ask<Q: Question>(
        &mut self,
        place: usize,
        generation: &Arc<Generation>,
        question: &Q,
    ) -> Result<Opinion<Q::Answer>, Unanswered> {
        let began = Instant::now();
        generation.counters.call(began);
        if let Some(trial) = self.route.trial(place, generation) {
            trial.fault_budget().call(began);
        }
        self.start_recording(place, generation);
        let remembered = question.remembered(generation);
        if remembered.is_some() {
            generation.counters.remember();
        }
        let put = match remembered {
            Some(opinion) => PutResult {
                result: Ok(opinion),
                fresh: true,
                stage: Q::STAGE,
            },
            None => self.put(place, generation, question).await,
        };
        let took = began.elapsed();
        self.asked = began + took;
        generation.counters.latency.record(took);
        self.note(place, question, put.fresh, &put.result, took);
        put.result
            .map_err(|failed| self.failed::<Q>(&failed, place, generation, put.stage))
    }

    /// Asks one module about a connection. Where it faults and has yet to prove itself, whoever it
    /// is to replace is asked in its place: a bad candidate locks nobody out.
    pub(crate) async fn ask_at_the_door<Q: Question>(
        &mut self,
        place: usize,
        generation: &Arc<Generation>,
        question: &Q,
    ) -> Result<Opinion<Q::Answer>, Unanswered> {
        let opinion = self.ask(place, generation, question).await;
        match (&opinion, self.route.fallback(place).map(Arc::clone)) {
            (Err(Unanswered::Faulted), Some(proven)) if proven.serves(Q::ROLE) => {
                // A record is of one generation.
                if let Some(module_state) = self.modules_state.get_mut(place) {
                    module_state.known = false;
                    if let Some(recording) = module_state.recording.take() {
                        recording.finish(self.context.now, self.context.origin);
                    }
                }
                self.ask(place, &proven, question).await
            }
            (Err(Unanswered::Faulted), Some(_)) => Ok(None),
            _ => opinion,
        }
    }

    async fn put<Q: Question>(
        &mut self,
        place: usize,
        generation: &Arc<Generation>,
        question: &Q,
    ) -> PutResult<Q::Answer> {
        let stateless = self.chain.is_stateless(place, generation);
        let module_state = self.modules_state.get_mut(place);
        let begins = module_state.as_ref().is_none_or(|module_state| !module_state.begun);
        let acquire_instance = module_state.and_then(|module_state| module_state.instance.take());
        // With a policy that keeps nothing it makes no difference which instance is asked.
        let fresh = acquire_instance.is_none() && (begins || !stateless);
        let made = match acquire_instance {
            Some(acquire_instance) => Ok(acquire_instance),
            None => self.acquire_instance(place, generation).await,
        };
        let (mut instance, in_use) = match made {
            Ok(made) => made,
            Err(failed) => {
                return PutResult {
                    result: Err(failed),
                    fresh,
                    stage: "configure",
                };
            }
        };
        instance.refuel(self.core.runtime.ration(Q::STAGE));
        let result = question.put(&mut instance).await;
        if let (true, Ok(opinion)) = (fresh && instance.asked_nothing(), &result) {
            question.remember(&self.core.runtime, generation, opinion);
        }
        // An instance that faulted is not put back: nothing may be asked of it again.
        if let (Ok(_), Some(module_state)) = (&result, self.modules_state.get_mut(place)) {
            module_state.begun = true;
            let kept_back = if stateless {
                module_state.usage = instance.usage();
                self.core.runtime.keep(&self.chain.idle, generation, instance)
            } else {
                Some(instance)
            };
            module_state.instance = kept_back.map(|instance| (instance, in_use));
        }
        PutResult {
            result,
            fresh,
            stage: Q::STAGE,
        }
    }

    /// An instance for a seat that has none: one that was idle, or a fresh one.
    async fn acquire_instance(
        &mut self,
        place: usize,
        generation: &Arc<Generation>,
    ) -> Result<(Instance, InUse), CallFailed> {
        let mut context = self.context.clone();
        let module_state = self.modules_state.get(place);
        if let Some(recording) = module_state.and_then(|module_state| module_state.recording.as_ref()) {
            context.answers = recording.answers();
        }
        let in_use = InUse::new(generation);
        let usage = module_state.map(|module_state| module_state.usage).unwrap_or_default();
        if let Some(mut instance) = self.chain.idle.take(generation) {
            instance.serve(context);
            instance.restore_usage(usage);
            return Ok((instance, in_use));
        }
        // Kilobytes, which every question would move along though few need them.
        let instance = Box::pin(configured(&self.core, generation, context, usage)).await?;
        Ok((instance, in_use))
    }

    /// Begins to record, at a module's first question, if anybody wants that.
    fn start_recording(&mut self, place: usize, generation: &Arc<Generation>) {
        let mode = self.chain.modules.get(place).map(|module| module.configured.record);
        if let Some(module_state) = self
            .modules_state
            .get_mut(place)
            .filter(|module_state| !module_state.known)
        {
            module_state.known = true;
            let (mode, context) = (mode.unwrap_or_default(), &self.context);
            let takers = &self.core.takers;
            module_state.recording = takers.recording(mode, generation, context.origin, &context.answers);
        }
    }

    fn note<Q: Question>(
        &mut self,
        place: usize,
        question: &Q,
        fresh: bool,
        result: &Result<Opinion<Q::Answer>, CallFailed>,
        took: Duration,
    ) {
        let kept = self.chain.recorded_body;
        let Some(recording) = self
            .modules_state
            .get_mut(place)
            .and_then(|module_state| module_state.recording.as_mut())
        else {
            return;
        };
        let body = if recording.keeps_bodies() { kept } else { 0 };
        // What cannot be read now could not be read by the module either: that is its fault's event.
        if let (Some(outcome), Ok(asked)) = (recorder::outcome(result), question.recorded(body)) {
            recording.note((asked, question.message()), fresh, outcome, took);
        }
    }

    fn failed<Q: Question>(
        &self,
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
        let at = FaultSite {
            candidate: &generation.candidate,
            generation: generation.number,
            stage,
            origin: self.context.origin,
            instead: match &trial {
                Some(_) if Q::ROLE == Role::Exemption && self.route.fallback(place).is_some() => {
                    "the generation before it was asked"
                }
                _ => self.chain.instead(Q::ROLE, place),
            },
        };
        self.core.report(fault, at);
        if let Some(trial) = trial
            && let Some(tally) = trial.fault_budget().fault(now)
        {
            self.core.notes.leave(Note::Failed(trial, tally));
        }
        Unanswered::Faulted
    }
}

impl Drop for Evaluation {
    /// What was recorded goes to whoever wants it.
    fn drop(&mut self) {
        for module_state in &mut self.modules_state {
            if let Some(recording) = module_state.recording.take() {
                recording.finish(self.context.now, self.context.origin);
            }
        }
    }
}

/// A fresh instance, configured, where others spent so much.
pub(crate) async fn configured(
    core: &Core,
    generation: &Generation,
    context: CallContext,
    usage: Usage,
) -> Result<Instance, CallFailed> {
    let candidate = &generation.candidate;
    if let Some(code) = generation.prepared() {
        let mut instance = Instance::of(&core.runtime, candidate, Arc::clone(code), context).await?;
        instance.restore_usage(usage);
        return Ok(instance);
    }
    let mut instance = Instance::new(&core.runtime, candidate, context).await?;
    instance.restore_usage(usage);
    instance.refuel(core.runtime.ration("configure"));
    match instance.configure(&generation.settings).await? {
        Ok(()) => Ok(instance),
        Err(complaints) => {
            let what: Vec<String> = complaints
                .into_iter()
                .map(|(key, text)| format!("{key}: {text}"))
                .collect();
            let lie = InvalidAnswer::new(format!(
                "refuses the settings it took when it was loaded: {}",
                what.join("; ")
            ));
            Err(instance.invalid_answer(&lie))
        }
    }
}
