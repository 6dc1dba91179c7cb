//! The recorder: follows modules through units of work and hands finished records to the log of decisions and to a shadow.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::evaluate::observer::{Observation, ObservedAnswer};
use crate::record::{Called, Completeness, Exchange, ExchangeOutcome, Given, RECORD_VERSION, Record, weight};
use host_config::RecordMode;
use host_contract::{Decision, Origin};
use host_engine::fault::CallFailed;
use host_engine::generation::Generation;
use host_engine::host_call::{Answer, Call, Caller, HostServices, NoAnswer};
use host_engine::validate::Opinion;
use host_mail::{Content, RecordId, Timestamp};

/// Bytes of calls and answers one record keeps; a unit of work may make ten thousand calls.
const CALLS: usize = 512 * 1024;

/// A sink of decision records. Never waits: records that cannot be taken at once are dropped, and the sink counts them.
pub trait Recorder: Send + Sync {
    /// Takes a record, to be kept as `mode` says.
    fn take(&self, record: Record, mode: RecordMode);
}

/// A tap on records while mail is served: the shadow's end of the path of mail.
pub(crate) trait Tap: Send + Sync {
    /// True if records of this generation and unit of work are to be offered.
    fn wants(&self, generation: &Generation, origin: Origin) -> bool;

    /// Takes a record, and the message that it is about.
    fn offer(&self, record: Record, message: Option<Arc<dyn Content>>);
}

/// Starts recordings for the log of decisions and for a tap.
#[derive(Default)]
pub(crate) struct RecordHub {
    /// The log of decisions, if there is one.
    pub(crate) log: OnceLock<Arc<dyn Recorder>>,
    /// A running shadow.
    pub(crate) tap: ArcSwapOption<Box<dyn Tap>>,
}

impl RecordHub {
    /// Starts the recording of a unit of work, if a sink wants it.
    pub(crate) fn start(
        &self,
        mode: RecordMode,
        generation: &Arc<Generation>,
        origin: Origin,
        services: &Arc<dyn HostServices>,
    ) -> Option<Recording> {
        let log = self.log.get().filter(|_| mode != RecordMode::Off);
        let tap = self.tap.load();
        let tap = tap.as_ref().filter(|tap| tap.wants(generation, origin));
        if log.is_none() && tap.is_none() {
            return None;
        }
        Some(Recording {
            generation: Arc::clone(generation),
            tape: Arc::new(Tape::new(Arc::clone(services))),
            log: log.cloned().map(|log| (log, mode)),
            tap: tap.cloned(),
            exchanges: Vec::new(),
            content: None,
        })
    }
}

/// Services that answer as others do, and note each call.
pub(crate) struct Tape {
    live: Arc<dyn HostServices>,
    state: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    /// Calls since the last question.
    made: Vec<Called>,
    /// Bytes of all calls of the unit of work.
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
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_add(weight(call, &given));
        if state.bytes <= CALLS {
            state.made.push(Called {
                call: call.clone(),
                given,
            });
        }
    }

    fn calls(&self) -> Vec<Called> {
        std::mem::take(&mut self.state.lock().made)
    }

    fn whole(&self) -> bool {
        self.state.lock().bytes <= CALLS
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
    tap: Option<Arc<Box<dyn Tap>>>,
    exchanges: Vec<Exchange>,
    content: Option<Arc<dyn Content>>,
}

impl Observation for Recording {
    fn services(&self) -> Arc<dyn HostServices> {
        Arc::clone(&self.tape) as Arc<dyn HostServices>
    }

    fn answered(&mut self, answer: ObservedAnswer<'_>) {
        // A tap has the message itself; only the log keeps bodies.
        let body = match self.log {
            Some((_, RecordMode::On)) => answer.recorded_body,
            _ => 0,
        };
        // A message that cannot be read now could not be read by the module either, which is an event of its own.
        let question = answer.question.with_message(|message| message.excerpt(body));
        let (Some(outcome), Ok(question)) = (outcome(answer.result), question) else {
            return;
        };
        if let Some(message) = answer.question.message().filter(|_| self.tap.is_some()) {
            self.content = Some(message.content());
        }
        self.exchanges.push(Exchange {
            question,
            fresh: answer.fresh,
            calls: self.tape.calls(),
            outcome,
            micros: u64::try_from(answer.duration.as_micros()).unwrap_or(u64::MAX),
        });
    }

    fn finished(self: Box<Self>, time: Timestamp, origin: Origin) {
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
        match (self.tap, self.log) {
            (Some(tap), Some((log, mode))) => {
                tap.offer(record.clone(), self.content);
                log.take(record, mode);
            }
            (Some(tap), None) => tap.offer(record, self.content),
            (None, Some((log, mode))) => log.take(record, mode),
            (None, None) => {}
        }
    }
}

/// Returns the outcome as a record has it; `None` for overload, which says nothing of the policy.
pub(crate) fn outcome(result: &Result<Opinion<Decision>, CallFailed>) -> Option<ExchangeOutcome> {
    Some(match result {
        Ok(None) => ExchangeOutcome::Pass,
        Ok(Some((answer, because))) => ExchangeOutcome::Decided {
            answer: answer.clone(),
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
