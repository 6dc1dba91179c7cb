//! The recorder: follows modules through units of work, as an observation, and hands finished records to the log of
//! decisions and to a shadow. The hub is owned by the manager.

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

/// Maximum size of the calls and answers in a record, in bytes; a unit of work may make ten thousand calls.
const MAX_CALL_BYTES: usize = 512 * 1024;

/// A sink of decision records. Implementations never block: records that cannot be taken at once are dropped and
/// counted by the sink.
pub trait Recorder: Send + Sync {
    /// Takes a record to store in the given mode.
    fn take(&self, record: Record, mode: RecordMode);
}

/// A tap on records while mail is served: the receiving end of a shadow.
pub(crate) trait Tap: Send + Sync {
    /// True if records of this generation and unit of work are to be offered.
    fn wants(&self, generation: &Generation, origin: Origin) -> bool;

    /// Takes a record, and the message that it is about.
    fn offer(&self, record: Record, message: Option<Arc<dyn Content>>);
}

/// The hub of records: starts recordings for the log of decisions and for a tap.
#[derive(Default)]
pub(crate) struct RecordHub {
    /// The log of decisions.
    pub(crate) log: OnceLock<Arc<dyn Recorder>>,
    /// The tap of a running shadow.
    pub(crate) tap: ArcSwapOption<Box<dyn Tap>>,
}

impl RecordHub {
    /// Starts a recording if a sink wants the record; `None` otherwise.
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
            call_recorder: Arc::new(CallRecorder::new(Arc::clone(services))),
            log: log.cloned().map(|log| (log, mode)),
            tap: tap.cloned(),
            exchanges: Vec::new(),
            content: None,
        })
    }
}

/// Host services that forward calls and record each answer.
pub(crate) struct CallRecorder {
    live: Arc<dyn HostServices>,
    state: Mutex<RecordedCalls>,
}

#[derive(Default)]
struct RecordedCalls {
    /// Calls since the last question.
    made: Vec<Called>,
    /// Bytes of all calls of the unit of work.
    bytes: usize,
}

impl CallRecorder {
    fn new(live: Arc<dyn HostServices>) -> Self {
        Self {
            live,
            state: Mutex::default(),
        }
    }

    fn add(&self, call: &Call, result: &Result<Answer, NoAnswer>) {
        let given = Given::from(result.clone());
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_add(weight(call, &given));
        if state.bytes <= MAX_CALL_BYTES {
            state.made.push(Called {
                call: call.clone(),
                given,
            });
        }
    }

    /// Returns the calls since the last question.
    fn take_calls(&self) -> Vec<Called> {
        std::mem::take(&mut self.state.lock().made)
    }

    /// True if every call is in the record.
    fn is_complete(&self) -> bool {
        self.state.lock().bytes <= MAX_CALL_BYTES
    }
}

impl HostServices for CallRecorder {
    fn answer<'a>(&'a self, caller: Caller<'a>, call: &'a Call) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        async move {
            let result = self.live.answer(caller, call).await;
            self.add(call, &result);
            result
        }
        .boxed()
    }
}

/// A record in the making.
pub(crate) struct Recording {
    generation: Arc<Generation>,
    call_recorder: Arc<CallRecorder>,
    log: Option<(Arc<dyn Recorder>, RecordMode)>,
    tap: Option<Arc<Box<dyn Tap>>>,
    exchanges: Vec<Exchange>,
    content: Option<Arc<dyn Content>>,
}

impl Observation for Recording {
    fn services(&self) -> Arc<dyn HostServices> {
        Arc::clone(&self.call_recorder) as Arc<dyn HostServices>
    }

    fn answered(&mut self, answer: ObservedAnswer<'_>) {
        // A tap gets the whole message; only the log stores bodies.
        let body = match self.log {
            Some((_, RecordMode::On)) => answer.recorded_body,
            _ => 0,
        };
        // If the message cannot be read now, the module could not read the message either, which is an event already.
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
            calls: self.call_recorder.take_calls(),
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
            kept: if self.call_recorder.is_complete() {
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

/// Returns the outcome in the form of a record; `None` for overload, which tells nothing about the policy.
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
