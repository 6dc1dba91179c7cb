//! Where events go. Emitting never blocks: a thread of its own writes stdout and the durable log.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use super::journal::Journal;
use super::{Event, EventLog, EventRecord, Format, Severity, render};
use crate::event_log::{LogFeed, lock};
use host_mail::Timestamp;
use host_sync::batch_queue::{BatchQueue, BatchReader};

/// Beyond so many waiting events those of severity info are dropped and counted.
const INFO_BACKLOG: usize = 64 * 1024;
/// Beyond so many warnings are dropped and counted, too. Errors never are.
const WARNING_BACKLOG: usize = 2 * INFO_BACKLOG;
/// So long an event waits for others, to be written with them. An error does not wait, nor does what
/// came before it.
const COMPANY: Duration = Duration::from_millis(5);
/// Events written at once.
const BATCH: usize = 512;

enum Task {
    Write(Timestamp, Box<Event>),
    /// Answered when everything before it is written.
    Flush(mpsc::SyncSender<()>),
}

/// The one sink of a host.
pub(super) enum Sink {
    Discard,
    Capture(Arc<Mutex<Vec<Event>>>),
    Writer(WriterHandle),
}

impl Sink {
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
pub(super) struct WriterHandle {
    tasks: Arc<BatchQueue<Task>>,
    dropped: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl WriterHandle {
    /// Opens the log in `dir` and starts the thread.
    pub(super) fn start(
        dir: &Path,
        format: Format,
        max_bytes: u64,
        out: Box<dyn Write + Send>,
    ) -> io::Result<(Self, EventLog)> {
        let journal = Journal::open(dir, max_bytes)?;
        let live = Arc::new(LogFeed::new(journal.tail().clone()));
        let log = EventLog::live(dir.to_owned(), live.clone());
        let tasks = Arc::new(BatchQueue::default());
        let dropped = Arc::new(AtomicU64::new(0));
        let scribe = EventWriter {
            tasks: tasks.reader(),
            dropped: dropped.clone(),
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
            tasks,
            dropped,
            thread: Some(thread),
        };
        Ok((writer, log))
    }

    fn emit(&self, event: Event) {
        let severity = event.entry().severity;
        let bound = match severity {
            Severity::Info => INFO_BACKLOG,
            Severity::Warning => WARNING_BACKLOG,
            Severity::Error => usize::MAX,
        };
        let event = Box::new(event);
        // The time is taken in the order of the queue.
        let task = || Task::Write(Timestamp::now(), event);
        if !self.tasks.push(severity == Severity::Error, bound, task) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        self.tasks.push(true, usize::MAX, || Task::Flush(done));
        // A thread that is gone drops the sender.
        let _ = wait.recv();
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

/// What the writer's thread owns.
struct EventWriter {
    tasks: BatchReader<Task>,
    dropped: Arc<AtomicU64>,
    journal: Journal,
    live: Arc<LogFeed>,
    format: Format,
    out: Box<dyn Write + Send>,
    /// The last append failed; said once until one works again.
    log_failed: bool,
}

impl EventWriter {
    fn run(mut self) {
        let mut tasks = Vec::new();
        let mut events = Vec::new();
        while self.tasks.take(&mut tasks, || (BATCH, COMPANY)) {
            for task in tasks.drain(..) {
                match task {
                    Task::Write(at, event) => events.push((at, event)),
                    Task::Flush(done) => {
                        self.write(&mut events);
                        let _ = done.send(());
                    }
                }
                if events.len() >= BATCH {
                    self.write(&mut events);
                }
            }
            let count = self.dropped.swap(0, Ordering::Relaxed);
            if count > 0 {
                events.push((Timestamp::now(), Box::new(Event::EventsDropped { count })));
            }
            self.write(&mut events);
            // A flood leaves no room behind that nobody needs any more.
            tasks.shrink_to(BATCH);
        }
    }

    /// Leaves none.
    fn write(&mut self, events: &mut Vec<(Timestamp, Box<Event>)>) {
        if events.is_empty() {
            return;
        }
        let mut kept = String::new();
        for (at, event) in &*events {
            kept.push_str(&render::json_of(*at, event));
            kept.push('\n');
        }
        match self.format {
            Format::Json => self.print(&kept),
            Format::Text => {
                let line =
                    |(at, event): &(Timestamp, Box<Event>)| Format::Text.line(&EventRecord::new(*at, event)) + "\n";
                self.print(&events.iter().map(line).collect::<String>());
            }
        }
        let sync = events
            .iter()
            .any(|(_, event)| event.entry().severity == Severity::Error);
        let live = self.live.clone();
        let mut tail = lock(&live.tail);
        let appended = self.journal.append(kept.as_bytes(), sync);
        tail.clone_from(self.journal.tail());
        // Whoever begins to follow waits for the tail.
        if live.records.receiver_count() > 0 {
            for (at, event) in &*events {
                // Nobody following any more is no error.
                let _ = live.records.send(Arc::new(EventRecord::new(*at, event)));
            }
        }
        drop(tail);
        events.clear();
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
