//! One unit of work: the instances of one connection's admission, one mail transaction or one
//! notification, and the questions put to them in the chain's order.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::evaluate::chain::Chain;
use crate::evaluate::route::Lane;
use crate::manage::supervisor::{Note, Notes};
use crate::record::recorder::{self, Recording, Takers};
use crate::services::live_services::Live;
use host_contract::{Decision, Origin};
use host_directory::Directory;
use host_engine::component::Role;
use host_engine::fault::{Failed, Fault};
use host_engine::generation::{Candidate, Generation};
use host_engine::host_call::Answers;
use host_engine::instance::Instance;
use host_engine::instance_state::Spent;
use host_engine::instance_state::Surroundings;
use host_engine::message_view::MessageView;
use host_engine::metrics::InUse;
use host_engine::runtime::Runtime;
use host_engine::validate::{Lie, Opinion};
use host_events::{Event, Events, PolicyFault};
use host_mail::{MessageId, Timestamp};
use host_sync::permit_pool::Slots;

/// What every unit of work needs.
pub(crate) struct Core {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) answers: Arc<dyn Answers>,
    /// The same, where it is the host as it stands.
    pub(crate) live: Option<Arc<Live>>,
    pub(crate) events: Events,
    pub(crate) takers: Takers,
    pub(crate) notes: Notes,
}

impl Core {
    pub(crate) fn new(runtime: Runtime, live: Live, directory: Arc<dyn Directory>, events: Events) -> Self {
        let live = Arc::new(live);
        Self {
            live: Some(live.clone()),
            ..Self::answering(runtime, live, directory, events)
        }
    }

    /// With answers from elsewhere.
    pub(crate) fn answering(
        runtime: Runtime,
        answers: Arc<dyn Answers>,
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

    pub(crate) fn surroundings(&self, origin: Origin) -> Surroundings {
        Surroundings {
            answers: Arc::clone(&self.answers),
            events: self.events.clone(),
            now: Timestamp::now(),
            origin,
        }
    }

    /// Event 4037. A candidate has no number yet: 0.
    pub(crate) fn report(&self, fault: &Fault, at: At<'_>) {
        self.events.emit(Event::PolicyFault {
            fault: at.describe(fault),
        });
    }
}

/// Where a fault happened.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) candidate: &'a Candidate,
    pub(crate) generation: u64,
    pub(crate) stage: &'a str,
    pub(crate) origin: Origin,
    pub(crate) instead: &'a str,
}

impl At<'_> {
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

    fn put(&self, instance: &mut Instance) -> impl Future<Output = Result<Opinion<Self::Answer>, Failed>> + Send;

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
struct Put<A> {
    result: Result<Opinion<A>, Failed>,
    /// The instance was made for it.
    fresh: bool,
    /// Where it ended.
    stage: &'static str,
}

/// A module's place in a unit of work.
#[derive(Default)]
struct Seat {
    instance: Option<(Instance, InUse)>,
    /// By instances that were given back.
    spent: Spent,
    /// It has answered a question.
    begun: bool,
    /// It was asked before.
    known: bool,
    /// If anybody wants it.
    recording: Option<Recording>,
}

/// See the module. Instances are made when they are needed.
pub(crate) struct Work {
    core: Arc<Core>,
    pub(crate) chain: Arc<Chain>,
    lane: Lane,
    around: Surroundings,
    /// By place in the chain. Dropped before the slots they stand in.
    seats: Vec<Seat>,
    slots: Option<Slots>,
    /// When the last question was answered.
    asked: Instant,
}

impl Work {
    pub(crate) fn new(core: &Arc<Core>, chain: Arc<Chain>, origin: Origin) -> Self {
        Self {
            core: Arc::clone(core),
            around: core.surroundings(origin),
            seats: Vec::new(),
            slots: None,
            asked: Instant::now(),
            lane: Lane::new(Arc::clone(&chain)),
            chain,
        }
    }

    /// Settles who decides, the active generations or a staged candidate, by the session (or the
    /// message of a notification) and the client. What was settled stays.
    pub(crate) fn choose(&mut self, client: Option<IpAddr>) {
        match (self.around.origin.session, self.around.origin.message) {
            (Some(session), _) => self.lane.choose(session, client),
            (None, message) => self.lane.choose(message, client),
        }
    }

    /// The message became known; events name it from now on.
    pub(crate) fn about(&mut self, message: MessageId) {
        self.around.origin.message = Some(message);
        for (instance, _) in self.seats.iter_mut().filter_map(|seat| seat.instance.as_mut()) {
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
        for place in self.lane.places() {
            let Some(generation) = self.serving(place, Q::ROLE) else {
                continue;
            };
            opinion = self.ask(place, &generation, question).await;
            if !matches!(opinion, Ok(None)) {
                break;
            }
        }
        // Where no module keeps its instance there is nothing to have a right to.
        if self.seats.iter().all(|seat| seat.instance.is_none()) {
            self.slots = None;
        }
        opinion
    }

    /// Who is asked at a place of the chain, if anybody.
    pub(crate) fn serving(&self, place: usize, role: Role) -> Option<Arc<Generation>> {
        self.lane.serving(place, role).map(Arc::clone)
    }

    /// Makes sure that the chain can be asked and that there is room for the instances.
    pub(crate) async fn enter(&mut self, role: Role, stage: &str, wait: Duration) -> Result<(), Unanswered> {
        if !self.chain.is_whole() {
            return Err(Unanswered::Unavailable);
        }
        let needed = self.lane.count(role);
        if self.slots.is_some() || needed == 0 {
            return Ok(());
        }
        match self.core.runtime.slots(needed, wait).await {
            Ok(slots) => {
                self.slots = Some(slots);
                self.seats.resize_with(self.chain.modules.len(), Seat::default);
                Ok(())
            }
            Err(overload) => Err(self.overloaded(stage, overload.waited)),
        }
    }

    /// Completes when other work waits for this unit's instances; never if it holds none.
    pub(crate) async fn revoked(&mut self) {
        match &mut self.slots {
            Some(slots) => slots.wanted(self.asked).await,
            None => std::future::pending().await,
        }
    }

    /// Releases all instances. The next question gets new ones; call and log budgets carry over.
    pub(crate) fn release(&mut self) {
        for seat in &mut self.seats {
            if let Some((instance, _)) = seat.instance.take() {
                seat.spent = instance.spent();
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
        if let Some(trial) = self.lane.trial(place, generation) {
            trial.patience().call(began);
        }
        self.listen(place, generation);
        let remembered = question.remembered(generation);
        if remembered.is_some() {
            generation.counters.remember();
        }
        let put = match remembered {
            Some(opinion) => Put {
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
        match (&opinion, self.lane.stand_in(place).map(Arc::clone)) {
            (Err(Unanswered::Faulted), Some(proven)) if proven.serves(Q::ROLE) => {
                // A record is of one generation.
                if let Some(seat) = self.seats.get_mut(place) {
                    seat.known = false;
                    if let Some(recording) = seat.recording.take() {
                        recording.finish(self.around.now, self.around.origin);
                    }
                }
                self.ask(place, &proven, question).await
            }
            (Err(Unanswered::Faulted), Some(_)) => Ok(None),
            _ => opinion,
        }
    }

    async fn put<Q: Question>(&mut self, place: usize, generation: &Arc<Generation>, question: &Q) -> Put<Q::Answer> {
        let stateless = self.chain.is_stateless(place, generation);
        let seat = self.seats.get_mut(place);
        let begins = seat.as_ref().is_none_or(|seat| !seat.begun);
        let seated = seat.and_then(|seat| seat.instance.take());
        // With a policy that keeps nothing it makes no difference which instance is asked.
        let fresh = seated.is_none() && (begins || !stateless);
        let made = match seated {
            Some(seated) => Ok(seated),
            None => self.seated(place, generation).await,
        };
        let (mut instance, in_use) = match made {
            Ok(made) => made,
            Err(failed) => {
                return Put {
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
        if let (Ok(_), Some(seat)) = (&result, self.seats.get_mut(place)) {
            seat.begun = true;
            let kept_back = if stateless {
                seat.spent = instance.spent();
                self.core.runtime.keep(&self.chain.idle, generation, instance)
            } else {
                Some(instance)
            };
            seat.instance = kept_back.map(|instance| (instance, in_use));
        }
        Put {
            result,
            fresh,
            stage: Q::STAGE,
        }
    }

    /// An instance for a seat that has none: one that was idle, or a fresh one.
    async fn seated(&mut self, place: usize, generation: &Arc<Generation>) -> Result<(Instance, InUse), Failed> {
        let mut around = self.around.clone();
        let seat = self.seats.get(place);
        if let Some(recording) = seat.and_then(|seat| seat.recording.as_ref()) {
            around.answers = recording.answers();
        }
        let in_use = InUse::new(generation);
        let spent = seat.map(|seat| seat.spent).unwrap_or_default();
        if let Some(mut instance) = self.chain.idle.take(generation) {
            instance.serve(around);
            instance.resume(spent);
            return Ok((instance, in_use));
        }
        // Kilobytes, which every question would move along though few need them.
        let instance = Box::pin(configured(&self.core, generation, around, spent)).await?;
        Ok((instance, in_use))
    }

    /// Begins to record, at a module's first question, if anybody wants that.
    fn listen(&mut self, place: usize, generation: &Arc<Generation>) {
        let mode = self.chain.modules.get(place).map(|module| module.configured.record);
        if let Some(seat) = self.seats.get_mut(place).filter(|seat| !seat.known) {
            seat.known = true;
            let (mode, around) = (mode.unwrap_or_default(), &self.around);
            let takers = &self.core.takers;
            seat.recording = takers.recording(mode, generation, around.origin, &around.answers);
        }
    }

    fn note<Q: Question>(
        &mut self,
        place: usize,
        question: &Q,
        fresh: bool,
        result: &Result<Opinion<Q::Answer>, Failed>,
        took: Duration,
    ) {
        let kept = self.chain.recorded_body;
        let Some(recording) = self.seats.get_mut(place).and_then(|seat| seat.recording.as_mut()) else {
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
        failed: &Failed,
        place: usize,
        generation: &Arc<Generation>,
        stage: &str,
    ) -> Unanswered {
        let fault = match failed {
            Failed::Fault(fault) => fault,
            Failed::Crowded => return self.overloaded(stage, Duration::ZERO),
        };
        let now = Instant::now();
        generation.counters.fault(fault.class, now);
        let trial = self.lane.trial(place, generation);
        let at = At {
            candidate: &generation.candidate,
            generation: generation.number,
            stage,
            origin: self.around.origin,
            instead: match &trial {
                Some(_) if Q::ROLE == Role::Exemption && self.lane.stand_in(place).is_some() => {
                    "the generation before it was asked"
                }
                _ => self.chain.instead(Q::ROLE, place),
            },
        };
        self.core.report(fault, at);
        if let Some(trial) = trial
            && let Some(tally) = trial.patience().fault(now)
        {
            self.core.notes.leave(Note::Failed(trial, tally));
        }
        Unanswered::Faulted
    }
}

impl Drop for Work {
    /// What was recorded goes to whoever wants it.
    fn drop(&mut self) {
        for seat in &mut self.seats {
            if let Some(recording) = seat.recording.take() {
                recording.finish(self.around.now, self.around.origin);
            }
        }
    }
}

/// A fresh instance, configured, where others spent so much.
pub(crate) async fn configured(
    core: &Core,
    generation: &Generation,
    around: Surroundings,
    spent: Spent,
) -> Result<Instance, Failed> {
    let candidate = &generation.candidate;
    if let Some(code) = generation.prepared() {
        let mut instance = Instance::of(&core.runtime, candidate, Arc::clone(code), around).await?;
        instance.resume(spent);
        return Ok(instance);
    }
    let mut instance = Instance::new(&core.runtime, candidate, around).await?;
    instance.resume(spent);
    instance.refuel(core.runtime.ration("configure"));
    match instance.configure(&generation.settings).await? {
        Ok(()) => Ok(instance),
        Err(complaints) => {
            let what: Vec<String> = complaints
                .into_iter()
                .map(|(key, text)| format!("{key}: {text}"))
                .collect();
            let lie = Lie::new(format!(
                "refuses the settings it took when it was loaded: {}",
                what.join("; ")
            ));
            Err(instance.lied(&lie))
        }
    }
}
