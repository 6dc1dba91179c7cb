//! The sink of events. Emitting never blocks: a writer thread appends to the durable log, with group commit, and hands
//! the lines to the thread that prints.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;

use super::printer::Printer;
use super::shares::{JournalShares, LogShare};
use super::{Condition, Event, EventLog, EventRecord, Format, HealthRegistry, Severity, StallProof, render};
use crate::event_log::LogFeed;
use host_mail::Timestamp;
use host_sync::batch_queue::{BatchQueue, BatchReader};

/// Bound of pending events for severity info. Further events are dropped and counted.
const INFO_BACKLOG: usize = 64 * 1024;
/// Bound of pending events for severity warning.
const WARNING_BACKLOG: usize = 2 * INFO_BACKLOG;
/// Bound of pending events for errors and for events about the host's own course, which a flood of others does not
/// reach.
const ERROR_BACKLOG: usize = 4 * INFO_BACKLOG;
/// Time for which a flush, and the end of the process, wait for the disk of the log.
const LOG_LIMIT: Duration = Duration::from_secs(5);
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
    /// Sends a reply once all tasks before are in the log, and another once they are printed.
    Flush(mpsc::SyncSender<()>, mpsc::SyncSender<()>),
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

/// Handle of the writer thread. Dropping the handle writes all pending events, within the limits of a flush.
pub(super) struct WriterHandle {
    tasks: Arc<BatchQueue<Task>>,
    /// Number of events dropped since the writer last reported.
    dropped: Arc<AtomicU64>,
    progress: Arc<Progress>,
    /// Value of `progress.written` when a wait for the log was given up.
    stalled_at: AtomicU64,
    /// Disconnected when the thread has ended.
    ended: Mutex<mpsc::Receiver<()>>,
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
        let journal = JournalShares::open(dir, max_bytes)?;
        let feed = Arc::new(LogFeed::new(journal.tails()));
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
            printer: Printer::start(out)?,
            log_failed: false,
            health,
        };
        let (running, ended) = mpsc::sync_channel::<()>(0);
        std::thread::Builder::new().name("events".to_owned()).spawn(move || {
            writer.run();
            drop(running);
        })?;
        let handle = Self {
            tasks,
            dropped,
            progress,
            stalled_at: AtomicU64::new(u64::MAX),
            ended: Mutex::new(ended),
        };
        Ok((handle, log))
    }

    fn emit(&self, event: Event) {
        let kind = event.entry();
        let severity = kind.severity;
        let max_pending = match LogShare::of(kind) {
            LogShare::Traffic => INFO_BACKLOG,
            LogShare::Warnings => WARNING_BACKLOG,
            LogShare::Operation | LogShare::Errors => ERROR_BACKLOG,
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
        let (logged, in_log) = mpsc::sync_channel(1);
        let (printed, in_print) = mpsc::sync_channel(1);
        self.tasks.push(true, usize::MAX, || Task::Flush(logged, printed));
        // If the thread has ended, the sender is dropped and this call returns at once.
        if in_log.recv_timeout(LOG_LIMIT).is_ok() {
            Printer::wait(&in_print);
        }
    }

    fn await_written(&self, emitted: u64, limit: Duration) {
        let written = self.progress.written.load(Ordering::Acquire);
        if written >= emitted || self.stalled_at.load(Ordering::Relaxed) == written {
            return;
        }
        let (done, wait) = mpsc::sync_channel(1);
        let (printed, _) = mpsc::sync_channel(1);
        self.tasks.push(true, usize::MAX, || Task::Flush(done, printed));
        if wait.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            self.stalled_at.store(written, Ordering::Relaxed);
        }
    }
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        self.tasks.close();
        // The thread's end drops the sender.
        let _ = self.ended.get_mut().recv_timeout(2 * LOG_LIMIT);
    }
}

/// State of the writer thread.
struct EventWriter {
    tasks: BatchReader<Task>,
    dropped: Arc<AtomicU64>,
    progress: Arc<Progress>,
    journal: JournalShares,
    feed: Arc<LogFeed>,
    format: Format,
    printer: Printer,
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
                    Task::Flush(logged, printed) => {
                        self.write(&mut events);
                        let _ = logged.send(());
                        self.printer.flush(printed);
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
        let lines: Vec<String> = events.iter().map(|(at, event)| render::json_of(*at, event)).collect();
        let printed = match self.format {
            Format::Json => lines.join("\n") + "\n",
            Format::Text => {
                let line =
                    |(at, event): &(Timestamp, Box<Event>)| Format::Text.line(&EventRecord::new(*at, event)) + "\n";
                events.iter().map(line).collect()
            }
        };
        let stall = self.printer.print(printed, events.len() as u64);
        self.append(events, lines);
        events.clear();
        if let Some(event) = stall {
            self.progress.emitted.fetch_add(1, Ordering::Relaxed);
            let own = [(Timestamp::now(), Box::new(event))];
            let line = render::json_of(own[0].0, &own[0].1);
            self.append(&own, vec![line]);
        }
    }

    /// Appends `events`, rendered as `lines`, to the log and sends them to followers.
    fn append(&mut self, events: &[(Timestamp, Box<Event>)], lines: Vec<String>) {
        let feed = self.feed.clone();
        let mut tails = feed.tails.lock();
        let shares = events.iter().map(|(_, event)| LogShare::of(event.entry()));
        let appended = self.journal.append(shares.zip(lines));
        *tails = self.journal.tails();
        // New followers wait for the lock of `tails`, so that the count cannot grow here.
        if feed.records.receiver_count() > 0 {
            for (at, event) in events {
                // An error means that the last follower has left.
                let _ = feed.records.send(Arc::new(EventRecord::new(*at, event)));
            }
        }
        drop(tails);
        self.progress.written.fetch_add(events.len() as u64, Ordering::Release);
        self.report_append(appended);
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
                let _ = writeln!(
                    StallProof::stderr(),
                    "posthouse: the event log cannot be written: {error}"
                );
            }
            Err(_) => {}
        }
    }
}
