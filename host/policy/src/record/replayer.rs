//! A recorded unit of work, put to another policy: the same questions at the same time, and the
//! answers of the host that the first one got.

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

/// What another policy made of one question.
pub(crate) struct Played {
    pub(crate) outcome: ExchangeOutcome,
    /// It asked what the record does not tell: the outcome is a guess.
    pub(crate) unrecorded: bool,
    /// How long it took, in microseconds.
    pub(crate) micros: u64,
}

/// There was no room for an instance.
pub(crate) struct Crowded;

/// Puts the record's questions to `generation`. Stops after a fault, as the host does: what comes
/// back may be shorter than the record. `message` is the whole message, if it is at hand; `live`
/// answers what was not recorded.
pub(crate) async fn play(
    evaluator: &Evaluator,
    generation: &Generation,
    record: &Record,
    message: Option<Arc<dyn Content>>,
    live: Option<Arc<dyn HostServices>>,
) -> Result<Vec<Played>, Crowded> {
    let guess = Guess::default();
    let mut context = evaluator.context(Origin {
        session: record.session,
        message: record.message,
    });
    context.answers = Arc::new(Playback::new(record, live, guess.clone()));
    // What it logs is not said: it decides nothing.
    context.events = Events::discard();
    context.now = record.time;
    let mut played = Vec::with_capacity(record.exchanges.len());
    let mut seat: (Option<Instance>, Usage) = (None, Usage::default());
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
        if let Some(rested) = seat.0.take_if(|_| exchange.fresh) {
            seat.1 = rested.usage();
        }
        let made = match seat.0.take() {
            Some(instance) => Ok(instance),
            None => configured(evaluator, generation, context.clone(), seat.1).await,
        };
        let result = match made {
            Ok(mut instance) => {
                let view = view(&exchange.question, message.as_ref(), &guess);
                let answer = match with_view(&exchange.question, view) {
                    Some(question) => PreparedQuestion::new(question).ask(&mut instance).await,
                    None => Ok(None),
                };
                seat.0 = answer.is_ok().then_some(instance);
                answer
            }
            Err(failed) => Err(failed),
        };
        let Some(outcome) = outcome(&result) else {
            return Err(Crowded);
        };
        played.push(Played {
            outcome,
            unrecorded: guess.take(),
            micros: u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX),
        });
        if matches!(result, Err(CallFailed::Fault(_))) {
            break;
        }
    }
    Ok(played)
}

fn view(question: &Question, message: Option<&Arc<dyn Content>>, guess: &Guess) -> Option<MessageView> {
    let Question::Message { message: excerpt, .. } = question else {
        return None;
    };
    if let Some(whole) = message {
        return Some(MessageView::new(Arc::clone(whole)));
    }
    // The host's own search for the end of the header must not count as reading the body.
    let header = HeaderBlock::read(&InMemory(excerpt.header.0.clone())).unwrap_or_default();
    let remembered = RecordedMessage {
        excerpt: excerpt.clone(),
        guess: guess.clone(),
    };
    Some(MessageView::with_header(Arc::new(remembered), header))
}

/// Raised when something was asked that the record does not tell.
#[derive(Clone, Default)]
struct Guess(Arc<AtomicBool>);

impl Guess {
    fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// A message as far as it was kept.
struct RecordedMessage {
    excerpt: Excerpt,
    guess: Guess,
}

impl Content for RecordedMessage {
    fn size(&self) -> u64 {
        self.excerpt.size()
    }

    fn read(&self, offset: u64, length: usize) -> std::io::Result<Bytes> {
        let known = self.excerpt.read(offset, length)?;
        let wanted = self.excerpt.size.saturating_sub(offset).min(length as u64);
        if (known.len() as u64) < wanted {
            self.guess.raise();
        }
        Ok(known)
    }
}

/// Answers from a record: equal calls in their order. When there are no more, what does not change
/// within a unit of work is answered as last, and the rest by the fallback.
struct Playback {
    recorded: Mutex<HashMap<Call, Recorded>>,
    live: Option<Arc<dyn HostServices>>,
    guess: Guess,
}

#[derive(Default)]
struct Recorded {
    next: VecDeque<Given>,
    last: Option<Given>,
}

impl Playback {
    fn new(record: &Record, live: Option<Arc<dyn HostServices>>, guess: Guess) -> Self {
        let mut recorded: HashMap<Call, Recorded> = HashMap::new();
        for called in record.exchanges.iter().flat_map(|exchange| &exchange.calls) {
            let answers = recorded.entry(called.call.clone()).or_default();
            answers.next.push_back(called.given.clone());
        }
        Self {
            recorded: Mutex::new(recorded),
            live,
            guess,
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

    /// Nothing that is asked here may change anything.
    async fn fallback(&self, asker: Caller<'_>, call: &Call) -> Result<Answer, NoAnswer> {
        self.guess.raise();
        let Some(live) = &self.live else {
            return Err(NoAnswer::Unavailable("not recorded".to_owned()));
        };
        let Call::CounterAdd { key, amount, .. } = call else {
            return live.answer(asker, call).await;
        };
        match live.answer(asker, &Call::CounterValue { key: key.clone() }).await {
            Ok(Answer::Count(count)) => Ok(Answer::Count(count.saturating_add(*amount))),
            other => other,
        }
    }
}

impl HostServices for Playback {
    fn answer<'a>(&'a self, asker: Caller<'a>, call: &'a Call) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        async move {
            match self.recorded(call) {
                Some(given) => given.into(),
                None => self.fallback(asker, call).await,
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

    /// One unit of work with these calls.
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
        let asker = Caller {
            module: "m",
            message: None,
        };
        playback.answer(asker, &call).await
    }

    /// A host whose counters must not be touched.
    struct Counters;

    impl HostServices for Counters {
        fn answer<'a>(&'a self, _: Caller<'a>, call: &'a Call) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
            assert!(!matches!(call, Call::CounterAdd { .. }), "a shadow counts");
            async { Ok(Answer::Count(40)) }.boxed()
        }
    }

    #[tokio::test]
    async fn counters_answer_in_their_order_and_a_call_too_many_is_a_guess() {
        let record = record(&[
            (add("a"), Answer::Count(1)),
            (add("b"), Answer::Count(7)),
            (add("a"), Answer::Count(2)),
        ]);
        let guess = Guess::default();
        let playback = Playback::new(&record, None, guess.clone());
        assert_eq!(ask(&playback, add("a")).await, Ok(Answer::Count(1)));
        assert_eq!(ask(&playback, add("a")).await, Ok(Answer::Count(2)));
        assert_eq!(ask(&playback, add("b")).await, Ok(Answer::Count(7)));
        assert!(!guess.take());
        assert!(ask(&playback, add("a")).await.is_err());
        assert!(guess.take());
    }

    #[tokio::test]
    async fn what_stands_still_is_answered_as_often_as_it_is_asked() {
        let record = record(&[(local("x.example"), Answer::Truth(true))]);
        let guess = Guess::default();
        let playback = Playback::new(&record, None, guess.clone());
        for _ in 0..3 {
            assert_eq!(ask(&playback, local("x.example")).await, Ok(Answer::Truth(true)));
        }
        assert!(!guess.take());
        let unknown = ask(&playback, local("y.example")).await;
        assert_eq!(unknown, Err(NoAnswer::Unavailable("not recorded".to_owned())));
        assert!(guess.take());
    }

    #[tokio::test]
    async fn a_shadow_reads_live_counters_and_changes_none() {
        let guess = Guess::default();
        let playback = Playback::new(&record(&[]), Some(Arc::new(Counters)), guess.clone());
        assert_eq!(ask(&playback, add("a")).await, Ok(Answer::Count(41)));
        assert!(guess.take());
    }

    #[test]
    fn a_message_that_was_kept_in_part_says_when_more_is_read() {
        let guess = Guess::default();
        let remembered = RecordedMessage {
            excerpt: Excerpt {
                size: 100,
                header: host_contract::Octets("A: b\r\n".into()),
                body: host_contract::Octets("\r\nHe".into()),
            },
            guess: guess.clone(),
        };
        assert_eq!(remembered.read(6, 4).expect("kept"), "\r\nHe");
        assert!(!guess.take());
        assert_eq!(remembered.read(6, 5).expect("kept in part"), "\r\nHe");
        assert!(guess.take());
        assert_eq!(remembered.read(100, 5).expect("nothing there"), "");
        assert!(!guess.take());
    }
}
