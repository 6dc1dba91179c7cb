//! The log of decisions: records of what policies were asked and decided, kept in the spool's store,
//! bounded by size and age. It never makes a decision wait: what cannot be kept at once is dropped and
//! counted.

mod hash_key;
mod log_reader;
mod log_writer;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;

use crate::decision_log::hash_key::HashKey;
use crate::decision_log::log_writer::{Item, LogWriter, PendingRecords};
use crate::{Record, Recorder};
use host_config::{Config, RecordMode};
use host_events::Events;
use host_spool::{Log, Spool};

pub use crate::decision_log::log_reader::Wanted;

/// Records that wait to be written.
const QUEUE: usize = 1024;
/// Bytes of them.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// The log of decisions. Cheap to clone.
#[derive(Clone)]
pub struct DecisionLog {
    log: Log,
    inner: Arc<LogHandle>,
}

struct LogHandle {
    items: SyncSender<Item>,
    dropped: Arc<PendingRecords>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl DecisionLog {
    /// Starts the thread that writes. The bounds are those of the configuration as it stands; the key of
    /// hashes is made in `folder`.
    pub fn start(spool: &Spool, folder: &Path, config: Arc<ArcSwap<Config>>, events: Events) -> io::Result<Self> {
        let key = HashKey::open(&folder.join("decisions.key"))?;
        let log = spool.log();
        let (items, received) = sync_channel(QUEUE);
        let dropped = Arc::new(PendingRecords::default());
        let writer = LogWriter::new(log.clone(), config, events, key, Arc::clone(&dropped));
        let thread = std::thread::Builder::new()
            .name("decisions".to_owned())
            .spawn(move || writer.run(&received))?;
        Ok(Self {
            log,
            inner: Arc::new(LogHandle {
                items,
                dropped,
                thread: Mutex::new(Some(thread)),
            }),
        })
    }

    /// Writes what waits and takes no more.
    pub async fn close(&self) {
        let thread = self.inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let items = self.inner.items.clone();
        let closing = tokio::task::spawn_blocking(move || {
            if let Some(thread) = thread
                && items.send(Item::Close).is_ok()
            {
                let _ = thread.join();
            }
        });
        let _ = closing.await;
    }
}

impl Recorder for DecisionLog {
    fn take(&self, record: Record, mode: RecordMode) {
        let weight = record.weight();
        let dropped = &self.inner.dropped;
        if !dropped.reserve(weight, QUEUE_BYTES) {
            return;
        }
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.inner.items.try_send(Item::Record(Box::new(record), mode))
        {
            dropped.give_back(weight);
            dropped.count();
        }
    }
}
