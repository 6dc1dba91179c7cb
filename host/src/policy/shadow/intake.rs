//! Between the mail and the shadow: a queue that never makes the mail wait.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::Trial;
use crate::mail::Content;
use crate::policy::decision::Origin;
use crate::policy::generation::Generation;
use crate::policy::record::Record;

/// Bounds of what waits for the candidate.
const QUEUE: usize = 256;
const QUEUE_BYTES: usize = 32 * 1024 * 1024;

/// One unit of work to compare.
pub(in crate::policy) struct Sample {
    pub(super) record: Record,
    pub(super) message: Option<Arc<dyn Content>>,
    weight: usize,
}

impl Sample {
    pub(in crate::policy) fn new(record: Record, message: Option<Arc<dyn Content>>) -> Self {
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
pub(in crate::policy) struct Intake {
    module: Arc<str>,
    against: u64,
    share: f64,
    samples: SyncSender<Sample>,
    queued: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
}

/// The candidate's end of it.
pub(super) struct Queue {
    samples: Receiver<Sample>,
    queued: Arc<AtomicUsize>,
}

impl Queue {
    /// The next one, if it comes in time.
    pub(super) fn next(&self, wait: Duration) -> Result<Sample, RecvTimeoutError> {
        let sample = self.samples.recv_timeout(wait)?;
        self.queued.fetch_sub(sample.weight, Ordering::Relaxed);
        Ok(sample)
    }
}

impl Intake {
    /// Nothing waits yet.
    pub(super) fn new(trial: &Trial) -> (Self, Queue) {
        let (samples, received) = sync_channel(QUEUE);
        let queued = Arc::new(AtomicUsize::new(0));
        let intake = Self {
            module: Arc::clone(&trial.generation.candidate.module),
            against: trial.against,
            share: trial.share,
            samples,
            queued: Arc::clone(&queued),
            dropped: Arc::clone(&trial.dropped),
        };
        let queue = Queue {
            samples: received,
            queued,
        };
        (intake, queue)
    }

    /// Whether it compares this unit of work: stable for a session.
    pub(in crate::policy) fn wants(&self, generation: &Generation, origin: Origin) -> bool {
        generation.number == self.against && generation.candidate.module == self.module && in_share(self.share, origin)
    }

    /// Takes it, or counts it.
    pub(in crate::policy) fn offer(&self, sample: Sample) {
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
