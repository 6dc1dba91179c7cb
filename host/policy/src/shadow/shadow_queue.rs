//! The bounded queue between the path of mail and the shadow's worker. The sending end never blocks.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use crate::record::Record;
use crate::record::recorder::Tap;
use crate::shadow::run_state::ShadowRun;
use host_contract::Origin;
use host_engine::generation::Generation;
use host_mail::Content;
use host_sync::queue_budget::QueueBudget;

/// Maximum number of samples in the queue.
const MAX_SAMPLES: usize = 256;
/// Maximum size of the samples in the queue, in bytes.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// A unit of work to compare.
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

/// The sending end of the queue, as a tap of the recorder.
pub(crate) struct Intake {
    module: Arc<str>,
    against: u64,
    share: f64,
    samples: SyncSender<Sample>,
    budget: Arc<QueueBudget>,
    dropped: Arc<AtomicU64>,
}

/// The receiving end of the queue.
pub(crate) struct Queue {
    samples: Receiver<Sample>,
    budget: Arc<QueueBudget>,
}

impl Queue {
    /// Waits for the next sample, at most `wait`.
    pub(crate) fn next(&self, wait: Duration) -> Result<Sample, RecvTimeoutError> {
        let sample = self.samples.recv_timeout(wait)?;
        self.budget.release(sample.weight);
        Ok(sample)
    }
}

impl Intake {
    /// Makes both ends of an empty queue.
    pub(crate) fn new(run: &ShadowRun) -> (Self, Queue) {
        let (samples, received) = sync_channel(MAX_SAMPLES);
        let budget = Arc::new(QueueBudget::new(MAX_SAMPLES, MAX_BYTES));
        let intake = Self {
            module: Arc::clone(&run.generation.candidate.module),
            against: run.against,
            share: run.share,
            samples,
            budget: Arc::clone(&budget),
            dropped: Arc::clone(&run.dropped),
        };
        let queue = Queue {
            samples: received,
            budget,
        };
        (intake, queue)
    }
}

impl Tap for Intake {
    /// True if this unit of work is compared; stable for a session. A unit without room in the queue is counted here
    /// already, which saves the recording.
    fn wants(&self, generation: &Generation, origin: Origin) -> bool {
        let selected = generation.number == self.against
            && generation.candidate.module == self.module
            && in_share(self.share, origin);
        if selected && self.budget.is_full() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        selected
    }

    /// Queues a sample, or counts the sample as dropped.
    fn offer(&self, record: Record, message: Option<Arc<dyn Content>>) {
        let sample = Sample::new(record, message);
        let weight = sample.weight;
        if self.budget.try_reserve(weight) {
            if self.samples.try_send(sample).is_ok() {
                return;
            }
            self.budget.release(weight);
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// True if the session (or the message of a notification) is in the share.
#[allow(clippy::cast_precision_loss)] // a share need not be exact
fn in_share(share: f64, origin: Origin) -> bool {
    let mut hasher = DefaultHasher::new();
    match origin.session {
        Some(session) => session.hash(&mut hasher),
        None => origin.message.hash(&mut hasher),
    }
    share >= 1.0 || (hasher.finish() as f64) < share * (u64::MAX as f64)
}
