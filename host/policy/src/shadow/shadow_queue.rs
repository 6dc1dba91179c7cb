//! Between the mail and the shadow: a queue that never makes the mail wait.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use crate::record::Record;
use crate::record::recorder::Tap;
use crate::shadow::run_state::ShadowRun;
use host_contract::Origin;
use host_engine::generation::Generation;
use host_mail::Content;

/// Bounds of what waits for the candidate.
const QUEUE: usize = 256;
const QUEUE_BYTES: usize = 32 * 1024 * 1024;

/// One unit of work to compare.
pub(crate) struct Sample {
    pub(crate) record: Record,
    pub(crate) message: Option<Arc<dyn Content>>,
    weight: usize,
}

impl Sample {
    pub(crate) fn new(record: Record, message: Option<Arc<dyn Content>>) -> Self {
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
pub(crate) struct Intake {
    module: Arc<str>,
    against: u64,
    share: f64,
    samples: SyncSender<Sample>,
    waiting: Arc<ShadowQueueState>,
    dropped: Arc<AtomicU64>,
}

/// What is in the queue.
#[derive(Default)]
struct ShadowQueueState {
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl ShadowQueueState {
    /// Room for one more of this weight.
    fn reserve(&self, weight: usize) -> bool {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(weight, Ordering::Relaxed);
        let fits = count < QUEUE && bytes.saturating_add(weight) <= QUEUE_BYTES;
        if !fits {
            self.give_back(weight);
        }
        fits
    }

    fn give_back(&self, weight: usize) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(weight, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= QUEUE || self.bytes.load(Ordering::Relaxed) >= QUEUE_BYTES
    }
}

/// The candidate's end of it.
pub(crate) struct Queue {
    samples: Receiver<Sample>,
    waiting: Arc<ShadowQueueState>,
}

impl Queue {
    /// The next one, if it comes in time.
    pub(crate) fn next(&self, wait: Duration) -> Result<Sample, RecvTimeoutError> {
        let sample = self.samples.recv_timeout(wait)?;
        self.waiting.give_back(sample.weight);
        Ok(sample)
    }
}

impl Intake {
    /// Nothing waits yet.
    pub(crate) fn new(trial: &ShadowRun) -> (Self, Queue) {
        let (samples, received) = sync_channel(QUEUE);
        let waiting = Arc::new(ShadowQueueState::default());
        let intake = Self {
            module: Arc::clone(&trial.generation.candidate.module),
            against: trial.against,
            share: trial.share,
            samples,
            waiting: Arc::clone(&waiting),
            dropped: Arc::clone(&trial.dropped),
        };
        let queue = Queue {
            samples: received,
            waiting,
        };
        (intake, queue)
    }
}

impl Tap for Intake {
    /// Whether it compares this unit of work: stable for a session. What there is no room for is counted
    /// here already, so that nobody goes to the length of recording it.
    fn wants(&self, generation: &Generation, origin: Origin) -> bool {
        let meant = generation.number == self.against
            && generation.candidate.module == self.module
            && in_share(self.share, origin);
        if meant && self.waiting.is_full() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        meant
    }

    /// Takes it, or counts it.
    fn offer(&self, record: Record, message: Option<Arc<dyn Content>>) {
        let sample = Sample::new(record, message);
        let weight = sample.weight;
        if self.waiting.reserve(weight) {
            if self.samples.try_send(sample).is_ok() {
                return;
            }
            self.waiting.give_back(weight);
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
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
