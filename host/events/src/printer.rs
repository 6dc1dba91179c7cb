//! The copy of events on standard output. A thread of its own writes, so that a reader that stalls holds up nothing
//! else; what the reader does not take in time is dropped and counted.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::time::Duration;

use super::Event;

/// Maximum size of text that waits for the reader of standard output.
const MAX_PENDING: usize = 8 << 20;
/// Time for which the end of the process, or a flush, waits for the reader.
const READER_LIMIT: Duration = Duration::from_secs(1);

/// A task for the printing thread.
enum PrintTask {
    /// Writes whole lines.
    Write(String),
    /// Sends a reply once all text before is written.
    Flush(SyncSender<()>),
}

/// Hands text to the printing thread.
pub(super) struct Printer {
    tasks: Sender<PrintTask>,
    /// Size of the text that the thread has not written yet.
    pending: Arc<AtomicUsize>,
    /// Number of events dropped since the reader stalled; 0 while the reader keeps up.
    dropped: u64,
    ended: Receiver<()>,
}

impl Printer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(out: Box<dyn Write + Send>) -> std::io::Result<Self> {
        let (tasks, queue) = mpsc::channel();
        let (running, ended) = mpsc::sync_channel(0);
        let pending = Arc::new(AtomicUsize::new(0));
        let written = Arc::clone(&pending);
        std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || write_all(&queue, out, &written, running))?;
        Ok(Self {
            tasks,
            pending,
            dropped: 0,
            ended,
        })
    }

    /// Prints `events` whole lines, or drops them while the reader has stalled. Returns an event at the beginning and at
    /// the end of a stall.
    pub(super) fn print(&mut self, lines: String, events: u64) -> Option<Event> {
        let size = lines.len();
        let pending = self.pending.load(Ordering::Acquire);
        let resumes = self.dropped > 0 && pending == 0;
        let fits = if self.dropped > 0 {
            resumes
        } else {
            // A batch of any size fits while nothing waits.
            pending == 0 || pending + size <= MAX_PENDING
        };
        if !fits {
            let begins = self.dropped == 0;
            self.dropped += events;
            return begins.then_some(Event::OutputStalled {});
        }
        self.pending.fetch_add(size, Ordering::AcqRel);
        // An error means that the thread has ended, which only a panic causes.
        let _ = self.tasks.send(PrintTask::Write(lines));
        let dropped = std::mem::take(&mut self.dropped);
        resumes.then_some(Event::OutputResumed { dropped })
    }

    /// Sends on `done` once everything so far is written. A stalled reader delays the reply.
    pub(super) fn flush(&self, done: SyncSender<()>) {
        let _ = self.tasks.send(PrintTask::Flush(done));
    }

    /// Waits until `done` is answered, at most a second.
    pub(super) fn wait(done: &Receiver<()>) {
        let _ = done.recv_timeout(READER_LIMIT);
    }
}

impl Drop for Printer {
    /// Waits until everything is written, at most a second.
    fn drop(&mut self) {
        // Replaces the sender by one without a receiver, which ends the thread's queue.
        self.tasks = mpsc::channel().0;
        let _ = self.ended.recv_timeout(READER_LIMIT);
    }
}

/// Writes text until the sender is gone. Errors are ignored: a closed standard output must not stop the events.
fn write_all(
    queue: &Receiver<PrintTask>,
    mut out: Box<dyn Write + Send>,
    pending: &AtomicUsize,
    running: SyncSender<()>,
) {
    for task in queue {
        match task {
            PrintTask::Write(lines) => {
                let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
                pending.fetch_sub(lines.len(), Ordering::AcqRel);
            }
            PrintTask::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
    drop(running);
}
