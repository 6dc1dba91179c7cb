//! The one thread that writes: all requests that wait become one batch and one sync.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::PutError;
use super::store::{Edit, Store, panic_text};

/// A batch takes no further request once it has so many bytes.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// A batch takes no further request once it has so many edits.
const BATCH_EDITS: usize = 4096;

/// Edits that belong together, and what happens in memory once they are on disk. When they do not
/// get there `then` is dropped, and what it holds puts itself back.
struct Request {
    edits: Vec<Edit>,
    then: Box<dyn FnOnce() + Send>,
    answer: oneshot::Sender<Result<(), PutError>>,
}

impl Request {
    fn bytes(&self) -> usize {
        self.edits
            .iter()
            .filter_map(|edit| edit.value.as_ref())
            .map(Vec::len)
            .sum()
    }
}

/// Handle of the writer thread.
pub(super) struct Writer {
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub fn start(store: Store) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("spool-writer".to_owned())
            .spawn(move || run(&store, &receiver))?;
        Ok(Self {
            requests: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands the edits over; they are written even if nobody waits for the answer.
    pub fn submit(&self, edits: Vec<Edit>, then: impl FnOnce() + Send + 'static) -> Answer {
        let (answer, receiver) = oneshot::channel();
        let request = Request {
            edits,
            then: Box::new(then),
            answer,
        };
        if let Some(requests) = &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            // A writer that is gone drops the request, and with it the answer's sender.
            let _ = requests.send(request);
        }
        Answer(receiver)
    }

    /// Takes no more requests; returns the thread, which ends when all it has are answered.
    pub fn stop(&self) -> Option<JoinHandle<()>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What became of a request.
pub(super) struct Answer(oneshot::Receiver<Result<(), PutError>>);

impl Answer {
    pub async fn wait(self) -> Result<(), PutError> {
        self.0
            .await
            .unwrap_or_else(|_| Err(PutError::Store("the spool is closed".to_owned())))
    }
}

fn run(store: &Store, requests: &mpsc::Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let (mut edits, mut bytes) = (first.edits.len(), first.bytes());
        let mut group = vec![first];
        while edits < BATCH_EDITS && bytes < BATCH_BYTES {
            let Ok(next) = requests.try_recv() else { break };
            edits += next.edits.len();
            bytes += next.bytes();
            group.push(next);
        }
        write(store, group);
    }
}

fn write(store: &Store, group: Vec<Request>) {
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
    use super::super::store::Table;
    use super::*;
    use crate::mail::MessageId;

    #[tokio::test]
    async fn what_is_on_disk_is_never_an_error_and_a_stopped_writer_always_is() {
        let folder = tempfile::tempdir().expect("folder");
        let (store, _) = Store::open(folder.path()).expect("store");
        let writer = Writer::start(store.clone()).expect("writer");
        let id = MessageId::generate();
        let edit = || Edit {
            table: Table::SetAside,
            id,
            value: Some(b"x".to_vec()),
        };
        let written = writer
            .submit(vec![edit()], || panic!("a mistake in memory"))
            .wait()
            .await;
        assert!(written.is_ok());
        assert!(store.value(Table::SetAside, id).expect("read").is_some());

        let last = writer.submit(vec![edit()], || {});
        let thread = writer.stop().expect("running");
        assert!(last.wait().await.is_ok(), "what was taken is written");
        thread.join().expect("ended");
        let undone = std::sync::Arc::new(());
        let held = undone.clone();
        assert!(writer.submit(vec![edit()], move || drop(held)).wait().await.is_err());
        assert_eq!(std::sync::Arc::strong_count(&undone), 1, "what it held is back");
    }
}
