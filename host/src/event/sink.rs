//! Where events go. Emitting never blocks: a thread of its own writes stdout and the durable log.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use super::journal::Journal;
use super::log::{Live, lock};
use super::queue::Queue;
use super::{Event, EventLog, Format, Record, Severity, render};
use crate::mail::Timestamp;

/// Events written at once.
const BATCH: usize = 512;

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
            Self::Writer(writer) => writer.queue.add(event),
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
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
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
        let queue = Arc::new(Queue::default());
        let scribe = Scribe {
            queue: queue.clone(),
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
            queue,
            thread: Some(thread),
        };
        Ok((writer, log))
    }

    fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        self.queue.flush(done);
        // The thread ends only after this writer.
        let _ = wait.recv();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the writer's thread owns.
struct Scribe {
    queue: Arc<Queue>,
    journal: Journal,
    live: Arc<Live>,
    format: Format,
    out: Box<dyn Write + Send>,
    /// The last append failed; said once until one works again.
    log_failed: bool,
}

impl Scribe {
    fn run(mut self) {
        while let Some(waiting) = self.queue.next() {
            for batch in waiting.events.chunks(BATCH) {
                self.write(batch);
            }
            if waiting.dropped > 0 {
                let event = Event::EventsDropped { count: waiting.dropped };
                self.write(&[(Timestamp::now(), event)]);
            }
            for done in waiting.flushed {
                let _ = done.send(());
            }
        }
    }

    fn write(&mut self, events: &[(Timestamp, Event)]) {
        let mut kept = String::new();
        for (at, event) in events {
            kept.push_str(&render::json_of(*at, event));
            kept.push('\n');
        }
        match self.format {
            Format::Json => self.print(&kept),
            Format::Text => {
                let line = |(at, event): &(Timestamp, Event)| Format::Text.line(&Record::new(*at, event)) + "\n";
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
            for (at, event) in events {
                // Nobody following any more is no error.
                let _ = live.records.send(Arc::new(Record::new(*at, event)));
            }
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
