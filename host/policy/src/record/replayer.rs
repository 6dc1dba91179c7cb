//! The replayer: puts a recorded unit of work to another policy, with the same questions, the same time and the
//! recorded answers of the host. Used by the offline replay and by the shadow.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::evaluate::evaluation::configured;
use crate::evaluate::evaluator::Evaluator;
use crate::evaluate::prepared_question::{PreparedQuestion, role, with_view};
use crate::record::recorder::outcome;
use crate::record::{ExchangeOutcome, Given, Record};
use host_contract::{Excerpt, Origin, Question};
use host_engine::fault::CallFailed;
use host_engine::generation::Generation;
use host_engine::host_call::{Answer, Call, Caller, HostServices, NoAnswer};
use host_engine::instance::Instance;
use host_engine::instance_state::Usage;
use host_engine::message_view::MessageView;
use host_events::Events;
use host_mail::{Content, HeaderBlock, InMemory};

/// The outcome of a question put to another policy.
pub(crate) struct Played {
    pub(crate) outcome: ExchangeOutcome,
    /// True if the policy made a call that was not recorded, so that the outcome is a guess.
    pub(crate) unrecorded: bool,
    /// Duration in microseconds.
    pub(crate) micros: u64,
}

/// The error that no instance was free.
pub(crate) struct Crowded;

/// Puts the questions of a record to `generation`. Stops after a fault, as the host does, so that the result may be
/// shorter than the record. `message` is the whole message, if available; `live` answers calls that were not recorded.
pub(crate) async fn play(
    evaluator: &Evaluator,
    generation: &Generation,
    record: &Record,
    message: Option<Arc<dyn Content>>,
    live: Option<Arc<dyn HostServices>>,
) -> Result<Vec<Played>, Crowded> {
    let unrecorded = UnrecordedFlag::default();
    let mut context = evaluator.context(Origin {
        session: record.session,
        message: record.message,
    });
    context.answers = Arc::new(Playback::new(record, live, unrecorded.clone()));
    // Log lines of the policy decide nothing and are not emitted.
    context.events = Events::discard();
    context.now = record.time;
    let mut played = Vec::with_capacity(record.exchanges.len());
    let mut instance: Option<Instance> = None;
    let mut usage = Usage::default();
    for exchange in &record.exchanges {
        let since = Instant::now();
        if !generation.serves(role(&exchange.question)) {
            played.push(Played {
                outcome: ExchangeOutcome::Pass,
                unrecorded: false,
                micros: 0,
            });
            continue;
        }
        if let Some(released) = instance.take_if(|_| exchange.fresh) {
            usage = released.usage();
        }
        let acquired = match instance.take() {
            Some(instance) => Ok(instance),
            None => configured(evaluator, generation, context.clone(), usage).await,
        };
        let result = match acquired {
            Ok(mut acquired) => {
                let view = view(&exchange.question, message.as_ref(), &unrecorded);
                let answer = match with_view(&exchange.question, view) {
                    Some(question) => PreparedQuestion::new(question).ask(&mut acquired).await,
                    None => Ok(None),
                };
                instance = answer.is_ok().then_some(acquired);
                answer
            }
            Err(failed) => Err(failed),
        };
        let Some(outcome) = outcome(&result) else {
            return Err(Crowded);
        };
        played.push(Played {
            outcome,
            unrecorded: unrecorded.take(),
            micros: u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX),
        });
        if matches!(result, Err(CallFailed::Fault(_))) {
            break;
        }
    }
    Ok(played)
}

fn view(question: &Question, message: Option<&Arc<dyn Content>>, unrecorded: &UnrecordedFlag) -> Option<MessageView> {
    let Question::Message { message: excerpt, .. } = question else {
        return None;
    };
    if let Some(whole) = message {
        return Some(MessageView::new(Arc::clone(whole)));
    }
    // The host's own search for the end of the header must not count as reading the body.
    let header = HeaderBlock::read(&InMemory(excerpt.header.0.clone())).unwrap_or_default();
    let recorded_message = RecordedMessage {
        excerpt: excerpt.clone(),
        unrecorded: unrecorded.clone(),
    };
    Some(MessageView::with_header(Arc::new(recorded_message), header))
}

/// A flag that is raised when the policy asks for something that was not recorded.
#[derive(Clone, Default)]
struct UnrecordedFlag(Arc<AtomicBool>);

impl UnrecordedFlag {
    fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// The recorded part of a message.
struct RecordedMessage {
    excerpt: Excerpt,
    unrecorded: UnrecordedFlag,
}

impl Content for RecordedMessage {
    fn size(&self) -> u64 {
        self.excerpt.size()
    }

    fn read(&self, offset: u64, length: usize) -> std::io::Result<Bytes> {
        let known = self.excerpt.read(offset, length)?;
        let expected = self.excerpt.size.saturating_sub(offset).min(length as u64);
        if (known.len() as u64) < expected {
            self.unrecorded.raise();
        }
        Ok(known)
    }
}

/// Host services that answer from a record: equal calls get the recorded answers in order. After the last, constant
/// answers are repeated, and counters are answered by the live services.
struct Playback {
    recorded: Mutex<HashMap<Call, Recorded>>,
    live: Option<Arc<dyn HostServices>>,
    unrecorded: UnrecordedFlag,
}

#[derive(Default)]
struct Recorded {
    next: VecDeque<Given>,
    last: Option<Given>,
}

impl Playback {
    fn new(record: &Record, live: Option<Arc<dyn HostServices>>, unrecorded: UnrecordedFlag) -> Self {
        let mut recorded: HashMap<Call, Recorded> = HashMap::new();
        for called in record.exchanges.iter().flat_map(|exchange| &exchange.calls) {
            let answers = recorded.entry(called.call.clone()).or_default();
            answers.next.push_back(called.given.clone());
        }
        Self {
            recorded: Mutex::new(recorded),
            live,
            unrecorded,
        }
    }

    fn recorded(&self, call: &Call) -> Option<Given> {
        let mut recorded = self.recorded.lock();
        let answers = recorded.get_mut(call)?;
        match answers.next.pop_front() {
            Some(given) => {
                answers.last = Some(given.clone());
                Some(given)
            }
            None if matches!(call, Call::CounterAdd { .. } | Call::CounterValue { .. }) => None,
            None => answers.last.clone(),
        }
    }

    /// Answers a call that was not recorded. Live counters are read but never added to.
    async fn fallback(&self, caller: Caller<'_>, call: &Call) -> Result<Answer, NoAnswer> {
        self.unrecorded.raise();
        let Some(live) = &self.live else {
            return Err(NoAnswer::Unavailable("not recorded".to_owned()));
        };
        let Call::CounterAdd { key, amount, .. } = call else {
            return live.answer(caller, call).await;
        };
        match live.answer(caller, &Call::CounterValue { key: key.clone() }).await {
            Ok(Answer::Count(count)) => Ok(Answer::Count(count.saturating_add(*amount))),
            other => other,
        }
    }
}

impl HostServices for Playback {
    fn answer<'a>(&'a self, caller: Caller<'a>, call: &'a Call) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        async move {
            match self.recorded(call) {
                Some(given) => given.into(),
                None => self.fallback(caller, call).await,
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Called, Completeness, Exchange, RECORD_VERSION};
    use host_mail::{RecordId, Timestamp};

    fn add(key: &str) -> Call {
        Call::CounterAdd {
            key: key.to_owned(),
            amount: 1,
            seconds: 60,
        }
    }

    fn local(domain: &str) -> Call {
        Call::IsLocalDomain {
            domain: domain.to_owned(),
        }
    }

    /// Returns a record of a unit of work with the given calls.
    fn record(calls: &[(Call, Answer)]) -> Record {
        let called = |(call, answer): &(Call, Answer)| Called {
            call: call.clone(),
            given: Given::Answer(answer.clone()),
        };
        Record {
            version: RECORD_VERSION,
            id: RecordId::at(Timestamp(1)),
            time: Timestamp(1),
            session: None,
            message: None,
            module: "m".to_owned(),
            generation: 1,
            digest: String::new(),
            kept: Completeness::All,
            exchanges: vec![Exchange {
                question: Question::Admit {
                    client: Arc::new(crate::testing::stranger()),
                },
                fresh: true,
                calls: calls.iter().map(called).collect(),
                outcome: ExchangeOutcome::Pass,
                micros: 1,
            }],
        }
    }

    async fn ask(playback: &Playback, call: Call) -> Result<Answer, NoAnswer> {
        let caller = Caller {
            module: "m",
            message: None,
        };
        playback.answer(caller, &call).await
    }

    /// A host that panics when a counter is added to.
    struct Counters;

    impl HostServices for Counters {
        fn answer<'a>(&'a self, _: Caller<'a>, call: &'a Call) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
            assert!(!matches!(call, Call::CounterAdd { .. }), "a shadow counts");
            async { Ok(Answer::Count(40)) }.boxed()
        }
    }

    #[tokio::test]
    async fn counter_calls_are_answered_in_order_and_extra_calls_are_flagged() {
        let record = record(&[
            (add("a"), Answer::Count(1)),
            (add("b"), Answer::Count(7)),
            (add("a"), Answer::Count(2)),
        ]);
        let unrecorded = UnrecordedFlag::default();
        let playback = Playback::new(&record, None, unrecorded.clone());
        assert_eq!(ask(&playback, add("a")).await, Ok(Answer::Count(1)));
        assert_eq!(ask(&playback, add("a")).await, Ok(Answer::Count(2)));
        assert_eq!(ask(&playback, add("b")).await, Ok(Answer::Count(7)));
        assert!(!unrecorded.take());
        assert!(ask(&playback, add("a")).await.is_err());
        assert!(unrecorded.take());
    }

    #[tokio::test]
    async fn constant_answers_are_repeated_without_limit() {
        let record = record(&[(local("x.example"), Answer::Truth(true))]);
        let unrecorded = UnrecordedFlag::default();
        let playback = Playback::new(&record, None, unrecorded.clone());
        for _ in 0..3 {
            assert_eq!(ask(&playback, local("x.example")).await, Ok(Answer::Truth(true)));
        }
        assert!(!unrecorded.take());
        let unknown = ask(&playback, local("y.example")).await;
        assert_eq!(unknown, Err(NoAnswer::Unavailable("not recorded".to_owned())));
        assert!(unrecorded.take());
    }

    #[tokio::test]
    async fn shadow_reads_live_counters_without_adding() {
        let unrecorded = UnrecordedFlag::default();
        let playback = Playback::new(&record(&[]), Some(Arc::new(Counters)), unrecorded.clone());
        assert_eq!(ask(&playback, add("a")).await, Ok(Answer::Count(41)));
        assert!(unrecorded.take());
    }

    #[test]
    fn reading_past_the_stored_part_of_a_message_is_flagged() {
        let unrecorded = UnrecordedFlag::default();
        let recorded_message = RecordedMessage {
            excerpt: Excerpt {
                size: 100,
                header: host_contract::Octets("A: b\r\n".into()),
                body: host_contract::Octets("\r\nHe".into()),
            },
            unrecorded: unrecorded.clone(),
        };
        assert_eq!(recorded_message.read(6, 4).expect("kept"), "\r\nHe");
        assert!(!unrecorded.take());
        assert_eq!(recorded_message.read(6, 5).expect("kept in part"), "\r\nHe");
        assert!(unrecorded.take());
        assert_eq!(recorded_message.read(100, 5).expect("nothing there"), "");
        assert!(!unrecorded.take());
    }
}
