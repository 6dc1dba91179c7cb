//! The sink of events. Emitting never blocks: a writer thread prints to stdout and appends to the durable log, with
//! group commit.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::journal::Journal;
use super::{Condition, Event, EventLog, EventRecord, Format, HealthRegistry, Severity, render};
use crate::event_log::LogFeed;
use host_mail::Timestamp;
use host_sync::batch_queue::{BatchQueue, BatchReader};

/// Bound of pending events for severity info. Further events are dropped and counted.
const INFO_BACKLOG: usize = 64 * 1024;
/// Bound of pending events for severity warning. Further events are dropped and counted; errors have no bound.
const WARNING_BACKLOG: usize = 2 * INFO_BACKLOG;
/// Time for which events wait to be written in a batch with others. An error ends the wait, also for the events before.
const LINGER: Duration = Duration::from_millis(5);
/// Number of events that are written at once.
const MAX_BATCH: usize = 512;

/// Name of the health's reason for an event log that cannot be written.
const LOG_REASON: &str = "event-log";

/// A task for the writer thread.
enum Task {
    /// Writes an event that was emitted at the given time.
    Write(Timestamp, Box<Event>),
    /// Sends a reply once all tasks before are done.
    Flush(mpsc::SyncSender<()>),
}

/// Destination of the events of a host.
pub(super) enum Sink {
    /// Drops events.
    Discard,
    /// Keeps events in memory.
    Capture(Arc<Mutex<Vec<Event>>>),
    /// Hands events to the writer thread.
    Writer(WriterHandle),
}

impl Sink {
    pub(super) fn emit(&self, event: Event) {
        match self {
            Self::Discard => {}
            Self::Capture(events) => events.lock().push(event),
            Self::Writer(writer) => writer.emit(event),
        }
    }

    pub(super) fn flush(&self) {
        if let Self::Writer(writer) = self {
            writer.flush();
        }
    }

    pub(super) fn emitted(&self) -> u64 {
        match self {
            Self::Writer(writer) => writer.progress.emitted.load(Ordering::Relaxed),
            Self::Discard | Self::Capture(_) => 0,
        }
    }

    pub(super) fn await_written(&self, emitted: u64, limit: Duration) {
        if let Self::Writer(writer) = self {
            writer.await_written(emitted, limit);
        }
    }
}

/// Numbers of events, dropped ones not included.
#[derive(Default)]
struct Progress {
    /// Events put into the queue.
    emitted: AtomicU64,
    /// Events that the writer has appended to the log, or has failed to append.
    written: AtomicU64,
}

/// Handle of the writer thread. Dropping the handle writes all pending events and joins the thread.
pub(super) struct WriterHandle {
    tasks: Arc<BatchQueue<Task>>,
    /// Number of events dropped since the writer last reported.
    dropped: Arc<AtomicU64>,
    progress: Arc<Progress>,
    /// Value of `progress.written` when a wait for the log was given up.
    stalled_at: AtomicU64,
    thread: Option<JoinHandle<()>>,
}

impl WriterHandle {
    /// Opens the log in `dir` and starts the writer thread.
    pub(super) fn start(
        dir: &Path,
        format: Format,
        max_bytes: u64,
        out: Box<dyn Write + Send>,
        health: HealthRegistry,
    ) -> io::Result<(Self, EventLog)> {
        let journal = Journal::open(dir, max_bytes)?;
        let feed = Arc::new(LogFeed::new(journal.tail().clone()));
        let log = EventLog::live(dir.to_owned(), feed.clone());
        let tasks = Arc::new(BatchQueue::default());
        let dropped = Arc::new(AtomicU64::new(0));
        let progress = Arc::new(Progress::default());
        let writer = EventWriter {
            tasks: tasks.reader(),
            dropped: dropped.clone(),
            progress: progress.clone(),
            journal,
            feed,
            format,
            out,
            log_failed: false,
            health,
        };
        let thread = std::thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || writer.run())?;
        let handle = Self {
            tasks,
            dropped,
            progress,
            stalled_at: AtomicU64::new(u64::MAX),
            thread: Some(thread),
        };
        Ok((handle, log))
    }

    fn emit(&self, event: Event) {
        let severity = event.entry().severity;
        let max_pending = match severity {
            Severity::Info => INFO_BACKLOG,
            Severity::Warning => WARNING_BACKLOG,
            Severity::Error => usize::MAX,
        };
        let event = Box::new(event);
        // The queue calls this in its own order, so that times ascend.
        let task = || {
            self.progress.emitted.fetch_add(1, Ordering::Relaxed);
            Task::Write(Timestamp::now(), event)
        };
        if !self.tasks.push(severity == Severity::Error, max_pending, task) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        self.tasks.push(true, usize::MAX, || Task::Flush(done));
        // If the thread has ended, the sender is dropped and this call returns at once.
        let _ = wait.recv();
    }

    fn await_written(&self, emitted: u64, limit: Duration) {
        let written = self.progress.written.load(Ordering::Acquire);
        if written >= emitted || self.stalled_at.load(Ordering::Relaxed) == written {
            return;
        }
        let (done, wait) = mpsc::sync_channel(1);
        self.tasks.push(true, usize::MAX, || Task::Flush(done));
        if wait.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            self.stalled_at.store(written, Ordering::Relaxed);
        }
    }
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        self.tasks.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// State of the writer thread.
struct EventWriter {
    tasks: BatchReader<Task>,
    dropped: Arc<AtomicU64>,
    progress: Arc<Progress>,
    journal: Journal,
    feed: Arc<LogFeed>,
    format: Format,
    out: Box<dyn Write + Send>,
    /// True if the last append failed. The failure is reported once until an append succeeds.
    log_failed: bool,
    /// Reasons of the host's health, which has the failure as long as it lasts.
    health: HealthRegistry,
}

impl EventWriter {
    fn run(mut self) {
        let mut tasks = Vec::new();
        let mut events = Vec::new();
        while self.tasks.take(&mut tasks, || (MAX_BATCH, LINGER)) {
            for task in tasks.drain(..) {
                match task {
                    Task::Write(at, event) => events.push((at, event)),
                    Task::Flush(done) => {
                        self.write(&mut events);
                        let _ = done.send(());
                    }
                }
                if events.len() >= MAX_BATCH {
                    self.write(&mut events);
                }
            }
            let count = self.dropped.swap(0, Ordering::Relaxed);
            if count > 0 {
                self.progress.emitted.fetch_add(1, Ordering::Relaxed);
                events.push((Timestamp::now(), Box::new(Event::EventsDropped { count })));
            }
            self.write(&mut events);
            // Releases the memory of a burst of events.
            tasks.shrink_to(MAX_BATCH);
        }
    }

    /// Prints, appends and sends all `events` and clears the vector.
    fn write(&mut self, events: &mut Vec<(Timestamp, Box<Event>)>) {
        if events.is_empty() {
            return;
        }
        let mut lines = String::new();
        for (at, event) in &*events {
            lines.push_str(&render::json_of(*at, event));
            lines.push('\n');
        }
        match self.format {
            Format::Json => self.print(&lines),
            Format::Text => {
                let line =
                    |(at, event): &(Timestamp, Box<Event>)| Format::Text.line(&EventRecord::new(*at, event)) + "\n";
                self.print(&events.iter().map(line).collect::<String>());
            }
        }
        let sync = events
            .iter()
            .any(|(_, event)| event.entry().severity == Severity::Error);
        let feed = self.feed.clone();
        let mut tail = feed.tail.lock();
        let appended = self.journal.append(lines.as_bytes(), sync);
        tail.clone_from(self.journal.tail());
        // New followers wait for the lock of `tail`, so that the count cannot grow here.
        if feed.records.receiver_count() > 0 {
            for (at, event) in &*events {
                // An error means that the last follower has left.
                let _ = feed.records.send(Arc::new(EventRecord::new(*at, event)));
            }
        }
        drop(tail);
        self.progress.written.fetch_add(events.len() as u64, Ordering::Release);
        events.clear();
        self.report_append(appended);
    }

    /// Prints to stdout. Errors are ignored: a closed stdout must not stop the log.
    fn print(&mut self, lines: &str) {
        let _ = self.out.write_all(lines.as_bytes()).and_then(|()| self.out.flush());
    }

    /// Reports the first of consecutive failures to append on stderr, since the log itself is unavailable.
    fn report_append(&mut self, appended: io::Result<()>) {
        match appended {
            Ok(()) => {
                if std::mem::take(&mut self.log_failed) {
                    self.health.clear(LOG_REASON);
                }
            }
            Err(error) if !self.log_failed => {
                self.log_failed = true;
                let text = format!("the event log cannot be written: {error}");
                self.health.raise(LOG_REASON, Condition::Degraded, text);
                let _ = writeln!(io::stderr(), "posthouse: the event log cannot be written: {error}");
            }
            Err(_) => {}
        }
    }
}
