//! Where events go. Emitting never blocks: a thread of its own writes stdout and the durable log.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use super::journal::Journal;
use super::log::{Live, lock};
use super::{Event, EventLog, Format, Record, Severity};
use crate::mail::Timestamp;

/// Beyond so many waiting events those of severity info are dropped and counted.
const INFO_BACKLOG: usize = 64 * 1024;
/// Beyond so many warnings are dropped and counted, too. Errors never are.
const WARNING_BACKLOG: usize = 2 * INFO_BACKLOG;
/// Events written at once.
const BATCH: usize = 512;

enum Task {
    Write(Timestamp, Box<Event>),
    /// Answered when everything before it is written.
    Flush(mpsc::SyncSender<()>),
}

/// The one sink of a host.
pub(super) enum Sinks {
    Discard,
    Capture(Arc<Mutex<Vec<Event>>>),
    Writer(Writer),
}

impl Sinks {
    pub(super) fn emit(&self, event: Event) {
        match self {
            Self::Discard => {}
            Self::Capture(events) => events.lock().unwrap_or_else(PoisonError::into_inner).push(event),
            Self::Writer(writer) => writer.emit(event),
        }
    }

    pub(super) fn flush(&self) {
        if let Self::Writer(writer) = self {
            writer.flush();
        }
    }
}

/// The emitting end of the writer's thread.
pub(super) struct Writer {
    /// None only while being dropped.
    tasks: Option<mpsc::Sender<Task>>,
    backlog: Arc<Backlog>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Backlog {
    waiting: AtomicUsize,
    dropped: AtomicU64,
}

impl Writer {
    /// Opens the log in `dir` and starts the thread.
    pub(super) fn start(
        dir: &Path,
        format: Format,
        max_bytes: u64,
        out: Box<dyn Write + Send>,
    ) -> io::Result<(Self, EventLog)> {
        let journal = Journal::open(dir, max_bytes)?;
        let live = Arc::new(Live::new(journal.tail().clone()));
        let log = EventLog::live(dir.to_owned(), live.clone());
        let backlog = Arc::new(Backlog::default());
        let (tasks, queue) = mpsc::channel();
        let scribe = Scribe {
            queue,
            backlog: backlog.clone(),
            journal,
            live,
            format,
            out,
            log_failed: false,
        };
        let thread = std::thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || scribe.run())?;
        let writer = Self {
            tasks: Some(tasks),
            backlog,
            thread: Some(thread),
        };
        Ok((writer, log))
    }

    fn emit(&self, event: Event) {
        let bound = match event.entry().severity {
            Severity::Info => INFO_BACKLOG,
            Severity::Warning => WARNING_BACKLOG,
            Severity::Error => usize::MAX,
        };
        if self.backlog.waiting.load(Ordering::Relaxed) >= bound {
            self.backlog.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Some(tasks) = &self.tasks {
            self.backlog.waiting.fetch_add(1, Ordering::Relaxed);
            // The thread ends only after this sender is gone.
            let _ = tasks.send(Task::Write(Timestamp::now(), Box::new(event)));
        }
    }

    fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        if let Some(tasks) = &self.tasks
            && tasks.send(Task::Flush(done)).is_ok()
        {
            let _ = wait.recv();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.tasks.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the writer's thread owns.
struct Scribe {
    queue: mpsc::Receiver<Task>,
    backlog: Arc<Backlog>,
    journal: Journal,
    live: Arc<Live>,
    format: Format,
    out: Box<dyn Write + Send>,
    /// The last append failed; said once until one works again.
    log_failed: bool,
}

impl Scribe {
    fn run(mut self) {
        while let Ok(first) = self.queue.recv() {
            let mut records = Vec::new();
            let mut flushed = None;
            let mut next = Some(first);
            while let Some(task) = next {
                match task {
                    Task::Write(at, event) => records.push(Arc::new(Record::new(at, &event))),
                    Task::Flush(done) => flushed = Some(done),
                }
                let full = records.len() >= BATCH || flushed.is_some();
                next = if full { None } else { self.queue.try_recv().ok() };
            }
            self.backlog.waiting.fetch_sub(records.len(), Ordering::Relaxed);
            let dropped = self.backlog.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                let event = Event::EventsDropped { count: dropped };
                records.push(Arc::new(Record::new(Timestamp::now(), &event)));
            }
            self.write(records);
            if let Some(done) = flushed {
                let _ = done.send(());
            }
        }
    }

    fn write(&mut self, records: Vec<Arc<Record>>) {
        if records.is_empty() {
            return;
        }
        let lines = |format: Format| -> String { records.iter().map(|record| format.line(record) + "\n").collect() };
        let kept = lines(Format::Json);
        match self.format {
            Format::Json => self.print(&kept),
            Format::Text => self.print(&lines(Format::Text)),
        }
        let sync = records.iter().any(|record| record.severity == Severity::Error);
        let live = self.live.clone();
        let mut tail = lock(&live.tail);
        let appended = self.journal.append(kept.as_bytes(), sync);
        tail.clone_from(self.journal.tail());
        for record in records {
            // Nobody following is no error.
            let _ = live.records.send(record);
        }
        drop(tail);
        self.note(appended);
    }

    /// A closed stdout does not stop the log.
    fn print(&mut self, lines: &str) {
        let _ = self.out.write_all(lines.as_bytes()).and_then(|()| self.out.flush());
    }

    /// The log cannot tell of its own failure: stderr does, once.
    fn note(&mut self, appended: io::Result<()>) {
        match appended {
            Ok(()) => self.log_failed = false,
            Err(error) if !self.log_failed => {
                self.log_failed = true;
                let _ = writeln!(io::stderr(), "posthouse: the event log cannot be written: {error}");
            }
            Err(_) => {}
        }
    }
}
