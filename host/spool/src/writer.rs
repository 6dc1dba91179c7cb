//! The one thread that writes: all requests that wait become one batch and one sync.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::PutError;
use super::store::{SpoolStore, StoreEdit, panic_text};
use host_sync::batch_queue::{BatchQueue, BatchReader};

/// A batch takes no further request once it has so many bytes.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// A batch takes no further request once it has so many edits.
const BATCH_EDITS: usize = 4096;
/// A batch waits no longer than this for messages that are on their way.
const COMPANY: Duration = Duration::from_micros(500);
/// Removals wait for a message to share its sync with, but no longer than this: for so long after the next
/// host has taken a message a crash may deliver it a second time.
const REMOVALS: (usize, Duration) = (8, Duration::from_millis(2));
/// A batch that waited in vain is followed by up to so many that do not wait.
const PATIENCE: u32 = 63;

/// Edits that belong together, and what happens in memory once they are on disk. When they do not
/// get there `then` is dropped, and what it holds puts itself back.
struct Request {
    patient: bool,
    edits: Vec<StoreEdit>,
    then: Box<dyn FnOnce() + Send>,
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

/// Handle of the writer thread.
pub(super) struct SpoolWriter {
    requests: Arc<BatchQueue<Request>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SpoolWriter {
    /// `underway` counts the messages that are being received: they will be requests soon.
    pub fn start(store: SpoolStore, underway: Arc<AtomicUsize>) -> std::io::Result<Self> {
        let requests = Arc::new(BatchQueue::default());
        let reader = requests.reader();
        let thread = std::thread::Builder::new()
            .name("spool-writer".to_owned())
            .spawn(move || run(&store, reader, &underway))?;
        Ok(Self {
            requests,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands the edits over; they are written even if nobody waits for the answer.
    pub fn submit(&self, edits: Vec<StoreEdit>, then: impl FnOnce() + Send + 'static) -> WriteResult {
        self.hand_over(false, edits, then)
    }

    /// As [`Self::submit`], of edits that can wait some milliseconds for others to be written with.
    pub fn submit_patiently(&self, edits: Vec<StoreEdit>, then: impl FnOnce() + Send + 'static) -> WriteResult {
        self.hand_over(true, edits, then)
    }

    fn hand_over(&self, patient: bool, edits: Vec<StoreEdit>, then: impl FnOnce() + Send + 'static) -> WriteResult {
        let (answer, receiver) = oneshot::channel();
        let request = Request {
            patient,
            edits,
            then: Box::new(then),
            answer,
        };
        // A writer that is gone drops the request, and with it the answer's sender.
        match patient {
            true => self.requests.push_low_priority(|| request),
            false => self.requests.push(false, usize::MAX, || request),
        };
        WriteResult(receiver)
    }

    /// Takes no more requests; returns the thread, which ends when all it has are answered.
    pub fn stop(&self) -> Option<JoinHandle<()>> {
        self.requests.close();
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        self.requests.close();
    }
}

/// What became of a request.
pub(super) struct WriteResult(oneshot::Receiver<Result<(), PutError>>);

impl WriteResult {
    pub async fn wait(self) -> Result<(), PutError> {
        self.0
            .await
            .unwrap_or_else(|_| Err(PutError::Store("the spool is closed".to_owned())))
    }
}

fn run(store: &SpoolStore, mut requests: BatchReader<Request>, underway: &AtomicUsize) {
    let mut taken = Vec::new();
    let mut patience = Linger::default();
    while requests.take_low_priority(&mut taken, REMOVALS, || {
        patience.linger(underway.load(Ordering::Relaxed))
    }) {
        match taken.iter().filter(|request| !request.patient).count() {
            0 => {} // Nobody was waited for.
            eager => patience.came(eager),
        }
        let (mut edits, mut bytes) = (0, 0);
        let mut group = Vec::with_capacity(taken.len());
        for request in taken.drain(..) {
            edits += request.edits.len();
            bytes += request.bytes();
            group.push(request);
            if edits >= BATCH_EDITS || bytes >= BATCH_BYTES {
                write(store, std::mem::take(&mut group));
                (edits, bytes) = (0, 0);
            }
        }
        write(store, group);
    }
}

/// Whether to wait for company: a sync costs as much for one message as for twenty. Where those that are
/// on their way do not come, as when their senders are slow, nobody waits for them for long.
#[derive(Default)]
struct Linger {
    /// So many were waited for; none if nobody was.
    wanted: usize,
    /// Batches that will not wait.
    rest: u32,
    /// How many that were the last time.
    rested: u32,
}

impl Linger {
    /// How many are worth waiting for, and for how long.
    fn linger(&mut self, underway: usize) -> (usize, Duration) {
        self.wanted = 0;
        match self.rest.checked_sub(1) {
            Some(rest) => self.rest = rest,
            None => self.wanted = underway,
        }
        (self.wanted, COMPANY)
    }

    /// So many came.
    fn came(&mut self, taken: usize) {
        match (self.wanted, taken) {
            (0 | 1, _) => {}
            (_, 1) => {
                self.rested = (2 * self.rested + 1).min(PATIENCE);
                self.rest = self.rested;
            }
            _ => self.rested = 0,
        }
    }
}

fn write(store: &SpoolStore, group: Vec<Request>) {
    if group.is_empty() {
        return;
    }
    let mut edits = Vec::new();
    let mut waiting = Vec::with_capacity(group.len());
    for request in group {
        edits.extend(request.edits);
        waiting.push((request.then, request.answer));
    }
    let written = guarded(|| store.write(edits)).and_then(|written| written);
    for (then, answer) in waiting {
        let outcome = match &written {
            // What is on disk is on disk: a panic in what follows must not turn it into an error.
            Ok(()) => {
                let _ = guarded(then);
                Ok(())
            }
            Err(error) => {
                let _ = guarded(|| drop(then));
                Err(PutError::Store(error.clone()))
            }
        };
        let _ = answer.send(outcome);
    }
}

fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic_text(&*panic))
}

#[cfg(test)]
mod tests {
    use super::super::store::StoreTable;
    use super::*;
    use host_mail::MessageId;

    #[tokio::test]
    async fn what_is_on_disk_is_never_an_error_and_a_stopped_writer_always_is() {
        let folder = tempfile::tempdir().expect("folder");
        let (store, _) = SpoolStore::open(folder.path()).expect("store");
        let writer = SpoolWriter::start(store.clone(), Arc::default()).expect("writer");
        let id = MessageId::generate();
        let edit = || StoreEdit {
            table: StoreTable::SetAside,
            id,
            value: Some(b"x".into()),
        };
        let written = writer
            .submit(vec![edit()], || panic!("a mistake in memory"))
            .wait()
            .await;
        assert!(written.is_ok());
        assert!(store.value(StoreTable::SetAside, id).expect("read").is_some());

        let last = writer.submit(vec![edit()], || {});
        let thread = writer.stop().expect("running");
        assert!(last.wait().await.is_ok(), "what was taken is written");
        thread.join().expect("ended");
        let undone = Arc::new(());
        let held = undone.clone();
        assert!(writer.submit(vec![edit()], move || drop(held)).wait().await.is_err());
        assert_eq!(Arc::strong_count(&undone), 1, "what it held is back");
    }

    #[test]
    fn slow_senders_are_not_waited_for_again_and_again() {
        let mut patience = Linger::default();
        let mut waited = 0;
        for _ in 0..1000 {
            waited += usize::from(patience.linger(5).0 > 1);
            patience.came(1);
        }
        assert!(waited < 30, "{waited}");
        while patience.linger(5).0 == 0 {}
        patience.came(3);
        assert_eq!(patience.linger(5).0, 5, "company is waited for while it comes");
    }

    #[test]
    fn who_is_alone_does_not_wait() {
        let mut patience = Linger::default();
        assert!(patience.linger(1).0 <= 1);
        patience.came(1);
        assert!(patience.linger(0).0 <= 1);
        assert_eq!(patience.rest, 0);
    }
}
