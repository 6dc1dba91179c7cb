//! Shadow: a candidate is asked what the active generation of a module was asked, off the way of the
//! mail. Its answers are compared and never applied, and it can slow nothing down: what does not fit
//! into its queue is dropped, and it runs on one thread that everything else goes before.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::call::{Answer, Answers, Asker, Call, NoAnswer};
use super::compare::Comparison;
use super::decision::Origin;
use super::generation::{Candidate, Generation};
use super::operate::{Inner, find};
use super::playback::{Played, play};
use super::qualify::{configured_code, fits, qualify};
use super::record::{Outcome, Record};
use super::wish::{Source, Wish};
use super::{LoadRequest, Policies};
use crate::config::Problem;
use crate::event::Event;
use crate::mail::{Content, Timestamp};

/// Bounds of what waits for the candidate.
const QUEUE: usize = 256;
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// How often it is looked whether the shadow should end.
const LOOK: Duration = Duration::from_millis(250);
/// The lowest priority there is, on Linux of this thread alone.
const NICE: i32 = 19;

/// What to try and for how long.
#[derive(Debug, Clone)]
pub struct ShadowRequest {
    /// Code and settings, as for a load.
    pub candidate: LoadRequest,
    /// Part of the sessions it sees, above 0 and up to 1.
    pub share: f64,
    /// It ends by itself after this.
    pub lasts: Duration,
}

/// How a shadow does, or did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ShadowReport {
    /// Module of the chain.
    pub module: String,
    /// SHA-256 of the candidate's code, hexadecimal.
    pub digest: String,
    /// The candidate's, as it says.
    pub version: String,
    /// Where its code came from.
    pub origin: String,
    /// Who wants to know.
    pub by: String,
    /// The active generation it is compared with.
    pub against: u64,
    /// Part of the sessions it sees.
    pub share: f64,
    /// Since when.
    pub started: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
    /// Why it ended; none while it runs.
    pub ended: Option<String>,
    /// Units of work that were not compared, since the candidate is too slow for all of them.
    pub dropped: u64,
    /// What would change.
    pub comparison: Comparison,
}

/// One unit of work to compare.
pub(super) struct Sample {
    record: Record,
    message: Option<Arc<dyn Content>>,
    weight: usize,
}

impl Sample {
    pub(super) fn new(record: Record, message: Option<Arc<dyn Content>>) -> Self {
        let content = message.as_ref().map_or(0, |content| content.size());
        Self {
            weight: record
                .weight()
                .saturating_add(usize::try_from(content).unwrap_or(usize::MAX)),
            record,
            message,
        }
    }
}

/// The hot path's end of a shadow.
pub(super) struct Intake {
    module: Arc<str>,
    against: u64,
    share: f64,
    samples: SyncSender<Sample>,
    queued: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
}

impl Intake {
    /// Whether it compares this unit of work: stable for a session.
    pub(super) fn wants(&self, generation: &Generation, origin: Origin) -> bool {
        generation.number == self.against && generation.candidate.module == self.module && in_share(self.share, origin)
    }

    /// Takes it, or counts it.
    pub(super) fn offer(&self, sample: Sample) {
        let weight = sample.weight;
        let before = self.queued.fetch_add(weight, Ordering::Relaxed);
        let fits = before.saturating_add(weight) <= QUEUE_BYTES;
        if !fits || self.samples.try_send(sample).is_err() {
            self.queued.fetch_sub(weight, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[allow(clippy::cast_precision_loss)] // a share need not be exact
fn in_share(share: f64, origin: Origin) -> bool {
    let mut hasher = DefaultHasher::new();
    match origin.session {
        Some(session) => session.hash(&mut hasher),
        None => origin.message.hash(&mut hasher),
    }
    share >= 1.0 || (hasher.finish() as f64) < share * (u64::MAX as f64)
}

/// A shadow, running or ended.
pub(super) struct Trial {
    generation: Generation,
    against: u64,
    share: f64,
    started: Timestamp,
    until: Timestamp,
    stop: AtomicBool,
    dropped: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    comparison: Comparison,
    ended: Option<String>,
}

impl Trial {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> ShadowReport {
        let candidate = &self.generation.candidate;
        let state = self.state();
        ShadowReport {
            module: candidate.module.to_string(),
            digest: candidate.code.digest.clone(),
            version: self.generation.description.version.clone(),
            origin: candidate.origin.clone(),
            by: candidate.by.clone(),
            against: self.against,
            share: self.share,
            started: self.started,
            until: self.until,
            ended: state.ended.clone(),
            dropped: self.dropped.load(Ordering::Relaxed),
            comparison: state.comparison.clone(),
        }
    }

    fn runs(&self) -> bool {
        self.state().ended.is_none()
    }
}

impl Policies {
    /// Begins to ask a candidate what a module is asked (5033). One shadow at a time.
    pub async fn shadow(&self, request: ShadowRequest) -> Result<ShadowReport, Vec<Problem>> {
        let busy = |trial: &Trial| {
            let text = format!(
                "there is a shadow of {} already; stop it first",
                trial.generation.candidate.module
            );
            vec![Problem::new("", text)]
        };
        if let Some(trial) = self.inner.trial().filter(|trial| trial.runs()) {
            return Err(busy(&trial));
        }
        if !(request.share > 0.0 && request.share <= 1.0) {
            return Err(vec![Problem::new("share", "expected more than 0 and at most 1")]);
        }
        let (generation, active) = self.inner.candidate(request.candidate).await?;
        let started = Timestamp::now();
        let trial = Arc::new(Trial {
            against: active.number,
            share: request.share,
            started,
            until: started.after(request.lasts),
            stop: AtomicBool::new(false),
            dropped: Arc::default(),
            state: Mutex::default(),
            generation,
        });
        // Only now, since two may have been checked at the same time.
        let takers = &self.inner.core.takers;
        let mut slot = takers.trial.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = slot.as_ref().filter(|trial| trial.runs()) {
            return Err(busy(other));
        }
        let intake = start(&self.inner, &trial).map_err(|error| vec![Problem::new("", error.to_string())])?;
        takers.shadow.store(Some(Arc::new(intake)));
        *slot = Some(Arc::clone(&trial));
        drop(slot);
        let report = trial.report();
        self.inner.core.events.emit(Event::ShadowStarted {
            policy: report.module.clone(),
            version: report.version.clone(),
            digest: report.digest.clone(),
            against: report.against,
            share: report.share,
            until: report.until.to_string(),
            by: report.by.clone(),
        });
        Ok(report)
    }

    /// How the shadow does, or the last one did.
    pub fn shadow_report(&self) -> Option<ShadowReport> {
        self.inner.trial().map(|trial| trial.report())
    }

    /// Ends the shadow; what it found stays to be looked at. None if there is none.
    pub fn end_shadow(&self, reason: &str) -> Option<ShadowReport> {
        let trial = self.inner.trial().filter(|trial| trial.runs())?;
        self.inner.end(&trial, reason);
        Some(trial.report())
    }
}

impl Inner {
    fn trial(&self) -> Option<Arc<Trial>> {
        let slot = self.core.takers.trial.lock().unwrap_or_else(PoisonError::into_inner);
        slot.clone()
    }

    /// A generation without a number, checked as for a load, and the one it is compared with.
    async fn candidate(&self, request: LoadRequest) -> Result<(Generation, Arc<Generation>), Vec<Problem>> {
        let chain = self.chain.load_full();
        let place = find(&chain, request.module.as_deref())?;
        let Some(module) = chain.modules.get(place) else {
            return Err(vec![Problem::new("module", "there is no such module")]);
        };
        let active = match &module.running {
            Ok(active) => Arc::clone(active),
            Err(why) => {
                let text = format!("{} cannot run, so there is nothing to compare with: {why}", module.name);
                return Err(vec![Problem::new("module", text)]);
            }
        };
        let wish = Wish {
            key: format!("policy[{place}]"),
            configured: &module.configured,
            code: configured_code(&module.configured).await,
            was: None,
            running: Some(Arc::clone(&active)),
        };
        let attempt = wish.attempt_to_load(request);
        if let Source::Given(bytes) = &attempt.code {
            fits(bytes.len(), module.configured.limits.component_size)
                .map_err(|text| vec![Problem::new("file", text)])?;
        }
        let (code, _) = self.code(&wish, &attempt).await?;
        let candidate = Candidate {
            module: Arc::clone(&module.name),
            code,
            settings: attempt.settings,
            grants: module.configured.grants.clone(),
            limits: module.configured.limits.clone(),
            origin: attempt.origin,
            by: attempt.by,
        };
        let description = qualify(&self.core, &candidate, &wish.key).await?;
        Ok((Generation::new(0, Timestamp::now(), candidate, description), active))
    }

    /// Says so, once.
    fn end(&self, trial: &Trial, reason: &str) {
        trial.stop.store(true, Ordering::Relaxed);
        {
            let mut state = trial.state();
            if state.ended.is_some() {
                return;
            }
            state.ended = Some(reason.to_owned());
            // No other can have begun before this one is marked as ended.
            self.core.takers.shadow.store(None);
        }
        let report = trial.report();
        self.core.events.emit(Event::ShadowEnded {
            policy: report.module,
            digest: report.digest,
            reason: reason.to_owned(),
            compared: report.comparison.compared,
            same: report.comparison.same,
            different: report.comparison.different,
            faulted: report.comparison.faulted,
            unrecorded: report.comparison.unrecorded,
            dropped: report.dropped,
        });
    }

    /// The module's active generation is still the one that is compared with.
    fn still_active(&self, trial: &Trial) -> bool {
        let chain = self.chain.load();
        let name = &trial.generation.candidate.module;
        let module = chain.modules.iter().find(|module| module.name == *name);
        let running = module.and_then(|module| module.running.as_ref().ok());
        running.is_some_and(|generation| generation.number == trial.against)
    }
}

/// Starts the thread. It holds nothing that keeps the engine from going.
fn start(inner: &Arc<Inner>, trial: &Arc<Trial>) -> std::io::Result<Intake> {
    let (samples, received) = sync_channel(QUEUE);
    let queued = Arc::new(AtomicUsize::new(0));
    let stage = Stage {
        inner: Arc::downgrade(inner),
        trial: Arc::clone(trial),
        received,
        queued: Arc::clone(&queued),
        live: Arc::new(OnMain {
            live: Arc::clone(&inner.core.answers),
            runtime: Handle::current(),
        }),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new()
        .name("policy-shadow".to_owned())
        .spawn(move || stage.run(&runtime))?;
    Ok(Intake {
        module: Arc::clone(&trial.generation.candidate.module),
        against: trial.against,
        share: trial.share,
        samples,
        queued,
        dropped: Arc::clone(&trial.dropped),
    })
}

/// The candidate's end of a shadow.
struct Stage {
    inner: Weak<Inner>,
    trial: Arc<Trial>,
    received: Receiver<Sample>,
    queued: Arc<AtomicUsize>,
    live: Arc<dyn Answers>,
}

impl Stage {
    fn run(self, runtime: &tokio::runtime::Runtime) {
        // Everything goes before this. If the system does not let us, the bounded queue still holds.
        let _ = rustix::process::setpriority_process(None, NICE);
        loop {
            let received = self.received.recv_timeout(LOOK);
            let Some(inner) = self.inner.upgrade() else { return };
            if self.trial.stop.load(Ordering::Relaxed) {
                return;
            }
            if Timestamp::now() >= self.trial.until {
                return inner.end(&self.trial, "its time is over");
            }
            if !inner.still_active(&self.trial) {
                return inner.end(&self.trial, "the active generation has changed");
            }
            match received {
                Ok(sample) => {
                    self.queued.fetch_sub(sample.weight, Ordering::Relaxed);
                    let compare = AssertUnwindSafe(|| runtime.block_on(self.compare(&inner, sample)));
                    if catch_unwind(compare).is_err() {
                        return inner.end(&self.trial, "a defect of the host");
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    async fn compare(&self, inner: &Inner, sample: Sample) {
        let Sample { record, message, .. } = sample;
        if !record.can_be_replayed() {
            return self.trial.state().comparison.skip(&record);
        }
        let (generation, live) = (&self.trial.generation, Some(Arc::clone(&self.live)));
        match play(&inner.core, generation, &record, message, live).await {
            Ok(played) => {
                let mut state = self.trial.state();
                let known = state.comparison.faults.clone();
                state.comparison.add(&record, &played);
                drop(state);
                for played in &played {
                    self.tell(inner, &record, played, &known);
                }
            }
            Err(_crowded) => {
                self.trial.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The first fault of each class (5035); the rest are counted.
    fn tell(&self, inner: &Inner, record: &Record, played: &Played, known: &std::collections::BTreeMap<String, u64>) {
        let Outcome::Fault {
            class,
            code,
            function,
            location,
        } = &played.outcome
        else {
            return;
        };
        if known.contains_key(class) {
            return;
        }
        inner.core.events.emit(Event::ShadowFault {
            policy: record.module.clone(),
            digest: self.trial.generation.candidate.code.digest.clone(),
            class: class.clone(),
            code: code.clone(),
            function: function.clone(),
            location: location.clone(),
            session: record.session.map(|id| id.to_string()),
            message: record.message.map(|id| id.to_string()),
        });
    }
}

/// The host's live answers, found where the host lives: what it keeps for later, such as a connection
/// to a name server, must not depend on the shadow's thread.
struct OnMain {
    live: Arc<dyn Answers>,
    runtime: Handle,
}

impl Answers for OnMain {
    fn answer<'a>(&'a self, asker: Asker<'a>, call: &'a Call) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        let (live, call) = (Arc::clone(&self.live), call.clone());
        let (module, message) = (asker.module.to_owned(), asker.message.cloned());
        let answering = self.runtime.spawn(async move {
            let asker = Asker {
                module: &module,
                message: message.as_ref(),
            };
            live.answer(asker, &call).await
        });
        async move {
            let answered = answering.await;
            answered.unwrap_or_else(|error| Err(NoAnswer::Unavailable(error.to_string())))
        }
        .boxed()
    }
}
