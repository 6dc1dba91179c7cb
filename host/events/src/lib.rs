//! Events for the operator, with stable ids: the catalogue, the output on stdout and the durable log.
//!
//! `docs/reference/events.md` is generated from the catalogue.

mod catalogue;
mod conditions;
mod event_log;
mod event_record;
mod health;
mod journal;
mod printer;
mod recently_accepted;
mod render;
mod shares;
mod sink;
mod stall_proof;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use crate::event_log::{EventLog, Followed, Query};
pub use crate::event_record::EventRecord;
pub use crate::recently_accepted::RecentlyAccepted;
pub use catalogue::{Event, EventKind, PolicyFault, Severity, catalogue, catalogue_markdown};
pub use health::{Condition, Health, HealthRegistry};
pub use render::{Format, escape};
pub use stall_proof::StallProof;

/// The sink of events: a structured log on stdout and the durable log. Clones are cheap and share the sink; dropping
/// the last clone writes all pending events, within the limits of [`Events::flush`].
#[derive(Clone)]
pub struct Events {
    sink: Arc<sink::Sink>,
    health: HealthRegistry,
}

impl Events {
    /// Opens the durable log in `dir`, kept below about `max_bytes`, and starts the writer threads. Events are also
    /// printed to stdout in `format`, as long as the reader takes them.
    ///
    /// # Errors
    /// I/O errors; [`io::ErrorKind::ResourceBusy`] if another process writes the log in `dir`.
    pub fn open(dir: &Path, format: Format, max_bytes: u64) -> io::Result<(Self, EventLog)> {
        Self::open_with(dir, format, max_bytes, Box::new(io::stdout()))
    }

    fn open_with(
        dir: &Path,
        format: Format,
        max_bytes: u64,
        out: Box<dyn io::Write + Send>,
    ) -> io::Result<(Self, EventLog)> {
        let health = HealthRegistry::default();
        let (writer, log) = sink::WriterHandle::start(dir, format, max_bytes, out, health.clone())?;
        let events = Self {
            sink: Arc::new(sink::Sink::Writer(writer)),
            health,
        };
        Ok((events, log))
    }

    /// Creates a sink that discards all events.
    pub fn discard() -> Self {
        Self::from(sink::Sink::Discard)
    }

    /// Creates a sink that keeps all events in memory, without bound, for tests and for commands that show events.
    pub fn capture() -> (Self, Captured) {
        let captured = Captured::default();
        (Self::from(sink::Sink::Capture(captured.events.clone())), captured)
    }

    /// Emits an event. Never blocks: if too many events are pending, infos and warnings are dropped and counted.
    pub fn emit(&self, event: Event) {
        conditions::note(&self.health, &event);
        self.sink.emit(event);
    }

    /// Returns the reasons of the host's health, which events and parts of the host change.
    pub fn health(&self) -> &HealthRegistry {
        &self.health
    }

    /// Blocks the thread until all events emitted so far are written; at most 5 seconds for the log, and a second for
    /// stdout.
    pub fn flush(&self) {
        self.sink.flush();
    }

    /// Returns the number of events emitted so far, for [`Self::await_written`].
    pub fn emitted(&self) -> u64 {
        self.sink.emitted()
    }

    /// Blocks the thread until the first `emitted` events are in the log, so that they survive the end of the process.
    /// Waits at most `limit`, and not again until the log has moved on.
    pub fn await_written(&self, emitted: u64, limit: Duration) {
        self.sink.await_written(emitted, limit);
    }
}

impl From<sink::Sink> for Events {
    fn from(sink: sink::Sink) -> Self {
        Self {
            sink: Arc::new(sink),
            health: HealthRegistry::default(),
        }
    }
}

/// The events collected by [`Events::capture`].
#[derive(Debug, Clone, Default)]
pub struct Captured {
    events: Arc<Mutex<Vec<Event>>>,
}

impl Captured {
    /// Events emitted so far, oldest first.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().clone()
    }

    /// Catalogue ids of the events emitted so far, oldest first.
    pub fn ids(&self) -> Vec<u32> {
        self.events().iter().map(|event| event.entry().id).collect()
    }
}

#[cfg(test)]
mod tests;
