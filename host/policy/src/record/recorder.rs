//! Recording: what one module is asked in one unit of work, and who wants to have it afterwards.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::record::{Called, Completeness, Exchange, ExchangeOutcome, Given, RECORD_VERSION, Record, weight};
use crate::shadow::{Intake, Sample, ShadowRun};
use host_config::RecordMode;
use host_contract::{Decision, Origin, Question};
use host_engine::fault::CallFailed;
use host_engine::generation::Generation;
use host_engine::host_call::{Answer, Call, Caller, HostServices, NoAnswer};
use host_engine::message_view::MessageView;
use host_engine::validate::Opinion;
use host_mail::{Content, RecordId, Timestamp};

/// Bytes of calls and answers one record keeps; a unit of work may make ten thousand calls.
const CALLS: usize = 512 * 1024;

/// Takes records of decisions. Must not wait: what cannot be taken at once is dropped and counted
/// by whoever takes.
pub trait Recorder: Send + Sync {
    /// Takes one, to be kept as `mode` says.
    fn take(&self, record: Record, mode: RecordMode);
}

/// Who wants records.
#[derive(Default)]
pub(crate) struct Takers {
    /// The log of decisions, if there is one.
    pub(crate) log: OnceLock<Arc<dyn Recorder>>,
    /// A policy that is being tried.
    pub(crate) shadow: ArcSwapOption<Intake>,
    /// The same, or the last one, to be looked at.
    pub(crate) trial: Mutex<Option<Arc<ShadowRun>>>,
}

impl Takers {
    /// A recording of this unit of work, if anybody wants it.
    pub(crate) fn recording(
        &self,
        mode: RecordMode,
        generation: &Arc<Generation>,
        origin: Origin,
        live: &Arc<dyn HostServices>,
    ) -> Option<Recording> {
        let log = self.log.get().filter(|_| mode != RecordMode::Off);
        let shadow = self.shadow.load();
        let shadow = shadow.as_ref().filter(|intake| intake.wants(generation, origin));
        if log.is_none() && shadow.is_none() {
            return None;
        }
        Some(Recording {
            generation: Arc::clone(generation),
            tape: Arc::new(Tape::new(Arc::clone(live))),
            log: log.cloned().map(|log| (log, mode)),
            shadow: shadow.cloned(),
            exchanges: Vec::new(),
            content: None,
        })
    }
}

/// Answers as another source does, and remembers.
pub(crate) struct Tape {
    live: Arc<dyn HostServices>,
    state: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    /// Since the last question.
    made: Vec<Called>,
    /// In all.
    bytes: usize,
}

impl Tape {
    fn new(live: Arc<dyn HostServices>) -> Self {
        Self {
            live,
            state: Mutex::default(),
        }
    }

    fn note(&self, call: &Call, result: &Result<Answer, NoAnswer>) {
        let given = Given::from(result.clone());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes = state.bytes.saturating_add(weight(call, &given));
        if state.bytes <= CALLS {
            state.made.push(Called {
                call: call.clone(),
                given,
            });
        }
    }

    fn calls(&self) -> Vec<Called> {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).made)
    }

    fn whole(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).bytes <= CALLS
    }
}

impl HostServices for Tape {
    fn answer<'a>(&'a self, asker: Caller<'a>, call: &'a Call) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        async move {
            let result = self.live.answer(asker, call).await;
            self.note(call, &result);
            result
        }
        .boxed()
    }
}

/// A record that is being made.
pub(crate) struct Recording {
    generation: Arc<Generation>,
    tape: Arc<Tape>,
    log: Option<(Arc<dyn Recorder>, RecordMode)>,
    shadow: Option<Arc<Intake>>,
    exchanges: Vec<Exchange>,
    content: Option<Arc<dyn Content>>,
}

impl Recording {
    /// What the instance is to be answered from.
    pub(crate) fn answers(&self) -> Arc<dyn HostServices> {
        Arc::clone(&self.tape) as Arc<dyn HostServices>
    }

    /// Whether somebody keeps bodies; who plays at once has the message itself.
    pub(crate) fn keeps_bodies(&self) -> bool {
        matches!(self.log, Some((_, RecordMode::On)))
    }

    /// One question was answered, or not.
    pub(crate) fn note(
        &mut self,
        (question, message): (Question, Option<&MessageView>),
        fresh: bool,
        outcome: ExchangeOutcome,
        took: Duration,
    ) {
        if let Some(message) = message.filter(|_| self.shadow.is_some()) {
            self.content = Some(message.content());
        }
        self.exchanges.push(Exchange {
            question,
            fresh,
            calls: self.tape.calls(),
            outcome,
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        });
    }

    /// The unit of work is over.
    pub(crate) fn finish(self, time: Timestamp, origin: Origin) {
        if self.exchanges.is_empty() {
            return;
        }
        let candidate = &self.generation.candidate;
        let record = Record {
            version: RECORD_VERSION,
            id: RecordId::at(time),
            time,
            session: origin.session,
            message: origin.message,
            module: candidate.module.to_string(),
            generation: self.generation.number,
            digest: candidate.code.digest.clone(),
            kept: if self.tape.whole() {
                Completeness::All
            } else {
                Completeness::Part
            },
            exchanges: self.exchanges,
        };
        match (self.shadow, self.log) {
            (Some(shadow), Some((log, mode))) => {
                shadow.offer(Sample::new(record.clone(), self.content));
                log.take(record, mode);
            }
            (Some(shadow), None) => shadow.offer(Sample::new(record, self.content)),
            (None, Some((log, mode))) => log.take(record, mode),
            (None, None) => {}
        }
    }
}

/// How a record has it. None is overload: that says nothing of the policy.
pub(crate) fn outcome<A: Clone + Into<Decision>>(result: &Result<Opinion<A>, CallFailed>) -> Option<ExchangeOutcome> {
    Some(match result {
        Ok(None) => ExchangeOutcome::Pass,
        Ok(Some((answer, because))) => ExchangeOutcome::Decided {
            answer: answer.clone().into(),
            because: because.clone(),
        },
        Err(CallFailed::Fault(fault)) => ExchangeOutcome::Fault {
            class: fault.class.name().to_owned(),
            code: fault.code.clone(),
            function: fault.place.function.clone(),
            location: fault.place.location.clone(),
        },
        Err(CallFailed::Crowded) => return None,
    })
}
