//! The writer thread. Group commit: all waiting requests become a single batch with a single sync.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use host_events::Events;
use host_sync::batch_queue::{BatchQueue, BatchReader};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::database::panic_text;
use crate::spool_error::{BatchError, PutError};
use crate::store::SpoolStore;
use crate::store_edit::StoreEdit;

/// Bytes at which a batch takes no further request.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Edits at which a batch takes no further request.
const BATCH_EDITS: usize = 4096;
/// Maximum time that a batch lingers for messages that are being received.
const LINGER: Duration = Duration::from_micros(500);
/// Number of low-priority requests (removals) that are written at once, and the maximum time that fewer linger for a
/// put to share the sync with. A crash within that time after the next host's reply delivers the message twice.
const LOW_PRIORITY: (usize, Duration) = (8, Duration::from_millis(2));
/// Maximum time that a batch waits for the event log. A log that does not move on must not hold mail.
const EVENT_WAIT: Duration = Duration::from_millis(100);
/// Maximum number of batches that do not linger after a batch that lingered in vain.
const MAX_SKIPPED: u32 = 63;

/// Edits of a request, and the work in memory after the sync. If the edits are not written, `on_written` is dropped,
/// which gives back the leases and files inside.
struct Request {
    low_priority: bool,
    /// True for a new message, which is refused if the disk is full. Other requests wait for room.
    refusable: bool,
    /// Number of events that must be in the log before the edits are written.
    after_events: u64,
    edits: Vec<StoreEdit>,
    on_written: Box<dyn FnOnce() + Send>,
    answer: oneshot::Sender<Result<(), PutError>>,
}

impl Request {
    fn bytes(&self) -> usize {
        self.edits
            .iter()
            .filter_map(|edit| edit.value.as_ref())
            .map(|value| value.len())
            .sum()
    }
}

/// A handle of the writer thread.
pub(super) struct SpoolWriter {
    requests: Arc<BatchQueue<Request>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SpoolWriter {
    /// Starts the thread. `active_drafts` counts the messages that are being received, which will be requests soon.
    pub fn start(store: SpoolStore, active_drafts: Arc<AtomicUsize>, events: Events) -> std::io::Result<Self> {
        let requests = Arc::new(BatchQueue::default());
        let reader = requests.reader();
        let thread = std::thread::Builder::new()
            .name("spool-writer".to_owned())
            .spawn(move || run(&store, reader, &active_drafts, &events))?;
        Ok(Self {
            requests,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Submits edits, which are written even if the result is dropped.
    pub fn submit(&self, edits: Vec<StoreEdit>, on_written: impl FnOnce() + Send + 'static) -> WriteResult {
        self.push((false, false), 0, edits, on_written)
    }

    /// Submits the edits of a new message, which are refused if the disk is full.
    pub fn submit_new(&self, edits: Vec<StoreEdit>, on_written: impl FnOnce() + Send + 'static) -> WriteResult {
        self.push((false, true), 0, edits, on_written)
    }

    /// Submits edits that remove a message. They are written after the first `after_events` events, which tell about the
    /// message: what the spool has forgotten after a crash is in the log. With `low_priority` they may linger some
    /// milliseconds for others to share a sync with.
    pub fn submit_removal(
        &self,
        low_priority: bool,
        after_events: u64,
        edits: Vec<StoreEdit>,
        on_written: impl FnOnce() + Send + 'static,
    ) -> WriteResult {
        self.push((low_priority, false), after_events, edits, on_written)
    }

    fn push(
        &self,
        (low_priority, refusable): (bool, bool),
        after_events: u64,
        edits: Vec<StoreEdit>,
        on_written: impl FnOnce() + Send + 'static,
    ) -> WriteResult {
        let (answer, receiver) = oneshot::channel();
        let request = Request {
            low_priority,
            refusable,
            after_events,
            edits,
            on_written: Box::new(on_written),
            answer,
        };
        // A writer that has ended drops the request and with it the answer's sender.
        match low_priority {
            true => self.requests.push_low_priority(|| request),
            false => self.requests.push(false, usize::MAX, || request),
        };
        WriteResult(receiver)
    }

    /// Refuses further requests. Returns the thread, which ends when all earlier requests are answered; `None` after
    /// the first call.
    pub fn stop(&self) -> Option<JoinHandle<()>> {
        self.requests.close();
        self.thread.lock().take()
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        self.requests.close();
    }
}

/// The pending result of a request.
pub(super) struct WriteResult(oneshot::Receiver<Result<(), PutError>>);

impl WriteResult {
    /// Waits until the edits are on disk or refused. Cancel safe: the edits are written all the same.
    pub async fn wait(self) -> Result<(), PutError> {
        self.0
            .await
            .unwrap_or_else(|_| Err(PutError::Store("the spool is closed".to_owned())))
    }
}

/// A request on the way to the writer. Most are submitted at once; some wait for files of drafts.
pub(super) enum Submission<F> {
    Submitted(Result<WriteResult, PutError>),
    /// Boxed: the future is rare and large.
    Preparing(Pin<Box<F>>),
}

impl<F: Future<Output = Result<WriteResult, PutError>>> Submission<F> {
    /// Waits until the edits are on disk or refused.
    pub async fn wait(self) -> Result<(), PutError> {
        let result = match self {
            Self::Submitted(result) => result?,
            Self::Preparing(result) => result.await?,
        };
        result.wait().await
    }
}

fn run(store: &SpoolStore, mut requests: BatchReader<Request>, active_drafts: &AtomicUsize, events: &Events) {
    let mut taken = Vec::new();
    let mut linger = Linger::default();
    while requests.take_with_low_priority(&mut taken, LOW_PRIORITY, || {
        linger.next_batch(active_drafts.load(Ordering::Relaxed))
    }) {
        match taken.iter().filter(|request| !request.low_priority).count() {
            0 => {} // Low-priority requests alone do not linger for drafts.
            normal => linger.observe(normal),
        }
        let (mut edits, mut bytes) = (0, 0);
        let mut group = Vec::with_capacity(taken.len());
        for request in taken.drain(..) {
            edits += request.edits.len();
            bytes += request.bytes();
            group.push(request);
            if edits >= BATCH_EDITS || bytes >= BATCH_BYTES {
                write(store, events, std::mem::take(&mut group));
                (edits, bytes) = (0, 0);
            }
        }
        write(store, events, group);
    }
}

/// The decision whether a batch lingers: a sync costs the same for a single message as for twenty. After a batch that
/// lingered in vain, as with slow senders, the next batches do not, twice as many each time.
#[derive(Default)]
struct Linger {
    /// Number of requests that the current batch lingers for; 0 if the batch does not linger.
    expected: usize,
    /// Number of batches still to be written without lingering.
    skip: u32,
    /// Value of `skip` after the last batch that lingered in vain.
    last_skip: u32,
}

impl Linger {
    /// Returns the number of requests that the next batch lingers for, and the maximum time.
    fn next_batch(&mut self, active_drafts: usize) -> (usize, Duration) {
        self.expected = 0;
        match self.skip.checked_sub(1) {
            Some(skip) => self.skip = skip,
            None => self.expected = active_drafts,
        }
        (self.expected, LINGER)
    }

    /// Learns the number of normal requests that the batch has.
    fn observe(&mut self, taken: usize) {
        match (self.expected, taken) {
            (0 | 1, _) => {}
            (_, 1) => {
                self.last_skip = (2 * self.last_skip + 1).min(MAX_SKIPPED);
                self.skip = self.last_skip;
            }
            _ => self.last_skip = 0,
        }
    }
}

fn write(store: &SpoolStore, events: &Events, group: Vec<Request>) {
    let Some(after_events) = group.iter().map(|request| request.after_events).max() else {
        return;
    };
    events.await_written(after_events, EVENT_WAIT);
    let (mut edits, mut waiting) = (Vec::new(), Vec::with_capacity(group.len()));
    for request in group {
        let from = edits.len();
        edits.extend(request.edits);
        waiting.push(Waiting {
            on_written: request.on_written,
            answer: request.answer,
            new: request.refusable.then_some(from..edits.len()),
        });
    }
    let written = guarded(|| store.write(&edits)).unwrap_or_else(|panic| Err(BatchError::Store(panic)));
    match written {
        Ok(()) => waiting.into_iter().for_each(|waiting| waiting.answer(&Ok(()))),
        Err(BatchError::Full(error)) => write_once_there_is_room(store, edits, waiting, &error),
        Err(error) => waiting
            .into_iter()
            .for_each(|waiting| waiting.answer(&Err(error.clone()))),
    }
}

/// Refuses the new messages of a batch, and writes the rest once the disk has room.
fn write_once_there_is_room(store: &SpoolStore, mut edits: Vec<StoreEdit>, waiting: Vec<Waiting>, error: &str) {
    let mut refused = Vec::new();
    let mut kept = Vec::new();
    for request in waiting {
        let Waiting {
            on_written,
            answer,
            new,
        } = request;
        match new {
            Some(range) => {
                // The batch may have reached the disk as a whole after all: its new messages are taken back.
                for edit in &mut edits[range] {
                    *edit = StoreEdit::new(edit.table, edit.id, None);
                }
                let _ = answer.send(Err(BatchError::Full(error.to_owned()).into()));
                // Holds the files of the message until then.
                refused.push(on_written);
            }
            None => kept.push(Waiting {
                on_written,
                answer,
                new,
            }),
        }
    }
    let written = guarded(|| store.write_when_possible(&edits)).unwrap_or_else(Err);
    let written = written.map_err(BatchError::Store);
    refused
        .into_iter()
        .for_each(|on_written| drop(guarded(|| drop(on_written))));
    kept.into_iter().for_each(|waiting| waiting.answer(&written));
}

/// A request whose edits are being written.
struct Waiting {
    on_written: Box<dyn FnOnce() + Send>,
    answer: oneshot::Sender<Result<(), PutError>>,
    /// Edits of a new message, as a range in the batch.
    new: Option<Range<usize>>,
}

impl Waiting {
    fn answer(self, written: &Result<(), BatchError>) {
        let outcome = match written {
            // The edits are on disk: a panic in memory afterwards must not turn success into an error.
            Ok(()) => {
                let _ = guarded(self.on_written);
                Ok(())
            }
            Err(error) => {
                let _ = guarded(|| drop(self.on_written));
                Err(error.clone().into())
            }
        };
        let _ = self.answer.send(outcome);
    }
}

fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic_text(&*panic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store_edit::StoreTable;
    use host_mail::MessageId;

    #[tokio::test]
    async fn panic_after_the_sync_is_no_error_and_a_stopped_writer_is() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::create_dir(folder.path().join("large")).expect("folder");
        let store = SpoolStore::open(folder.path(), Events::discard()).expect("store");
        let writer = SpoolWriter::start(store.clone(), Arc::default(), Events::discard()).expect("writer");
        let id = MessageId::generate();
        let edit = || StoreEdit::new(StoreTable::SetAside, id, Some(b"x".into()));
        let written = writer
            .submit(vec![edit()], || panic!("a mistake in memory"))
            .wait()
            .await;
        assert!(written.is_ok());
        assert!(store.value(StoreTable::SetAside, id).expect("read").is_some());

        let last = writer.submit(vec![edit()], || {});
        let thread = writer.stop().expect("running");
        assert!(last.wait().await.is_ok(), "a request taken before the stop is written");
        thread.join().expect("ended");
        let dropped = Arc::new(());
        let captured = dropped.clone();
        let refused = writer.submit(vec![edit()], move || drop(captured));
        assert!(refused.wait().await.is_err());
        assert_eq!(Arc::strong_count(&dropped), 1, "a refused request drops its captures");
    }

    #[test]
    fn lingers_rarely_for_slow_senders_and_again_when_requests_come() {
        let mut linger = Linger::default();
        let mut lingered = 0;
        for _ in 0..1000 {
            lingered += usize::from(linger.next_batch(5).0 > 1);
            linger.observe(1);
        }
        assert!(lingered < 30, "{lingered}");
        while linger.next_batch(5).0 == 0 {}
        linger.observe(3);
        assert_eq!(linger.next_batch(5).0, 5, "batches linger while requests come");
    }

    #[test]
    fn a_lone_message_does_not_linger() {
        let mut linger = Linger::default();
        assert!(linger.next_batch(1).0 <= 1);
        linger.observe(1);
        assert!(linger.next_batch(0).0 <= 1);
        assert_eq!(linger.skip, 0);
    }
}
