//! The log of decisions: stores decision records in the spool's store, bounded by size and age. Recording never delays
//! a decision: records that cannot be queued at once are dropped and counted. Owned by the daemon, filled by the
//! recorder, read by the control socket.

mod hash_key;
mod log_reader;
mod log_writer;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::decision_log::hash_key::HashKey;
use crate::decision_log::log_writer::{LogItem, LogWriter, PendingRecords};
use crate::{Record, Recorder};
use host_config::{Config, RecordMode};
use host_events::Events;
use host_spool::{Log, Spool};

pub use crate::decision_log::log_reader::Wanted;

/// Maximum number of records in the queue.
const MAX_RECORDS: usize = 1024;
/// Maximum size of the records in the queue, in bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The log of decisions. Clones share the queue and the thread.
#[derive(Clone)]
pub struct DecisionLog {
    log: Log,
    inner: Arc<LogHandle>,
}

/// The queue and the thread of a log.
struct LogHandle {
    items: SyncSender<LogItem>,
    pending: Arc<PendingRecords>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl DecisionLog {
    /// Starts the writer's thread. Bounds follow the current configuration; the key of hashes is created in `folder`.
    pub fn start(spool: &Spool, folder: &Path, config: Arc<ArcSwap<Config>>, events: Events) -> io::Result<Self> {
        let key = HashKey::open(&folder.join("decisions.key"), &events)?;
        let log = spool.log();
        let (items, received) = sync_channel(MAX_RECORDS);
        let pending = Arc::new(PendingRecords::default());
        let writer = LogWriter::new(log.clone(), config, events, key, Arc::clone(&pending));
        let thread = std::thread::Builder::new()
            .name("decisions".to_owned())
            .spawn(move || writer.run(&received))?;
        Ok(Self {
            log,
            inner: Arc::new(LogHandle {
                items,
                pending,
                thread: Mutex::new(Some(thread)),
            }),
        })
    }

    /// Writes the queued records and stops the writer. Later records are dropped.
    pub async fn close(&self) {
        let thread = self.inner.thread.lock().take();
        let items = self.inner.items.clone();
        let closing = tokio::task::spawn_blocking(move || {
            if let Some(thread) = thread
                && items.send(LogItem::Close).is_ok()
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
        let pending = &self.inner.pending;
        if !pending.reserve(weight, MAX_BYTES) {
            return;
        }
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.inner.items.try_send(LogItem::Record(Box::new(record), mode))
        {
            pending.release(weight);
            pending.count_dropped();
        }
    }
}
