//! What an operator is told: events with stable ids, one variant each, rendered in one place.
//!
//! The catalogue (`docs/events.md`) is made from the table below.

mod catalogue;
mod event_log;
mod journal;
mod render;
mod sink;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

pub use crate::event_log::{EventLog, EventRecord, Followed, Query};
pub use catalogue::{Event, EventKind, PolicyFault, Severity, catalogue, catalogue_markdown};
pub use render::{Format, escape};

/// Where events go: structured log on stdout and the durable log. Cheap to clone; never blocks.
/// When the last clone is dropped everything emitted is written.
#[derive(Clone)]
pub struct Events {
    inner: Arc<sink::Sink>,
}

impl Events {
    /// Events go to stdout in `format` and to the log in `dir`, which is kept below about
    /// `max_bytes`.
    pub fn open(dir: &Path, format: Format, max_bytes: u64) -> io::Result<(Self, EventLog)> {
        Self::open_with(dir, format, max_bytes, Box::new(io::stdout()))
    }

    fn open_with(
        dir: &Path,
        format: Format,
        max_bytes: u64,
        out: Box<dyn io::Write + Send>,
    ) -> io::Result<(Self, EventLog)> {
        let (writer, log) = sink::WriterHandle::start(dir, format, max_bytes, out)?;
        Ok((Self::from(sink::Sink::Writer(writer)), log))
    }

    /// Nobody is told.
    pub fn discard() -> Self {
        Self::from(sink::Sink::Discard)
    }

    /// Events are kept in memory, without bound: for tests and for commands that show them.
    pub fn capture() -> (Self, Captured) {
        let captured = Captured::default();
        (Self::from(sink::Sink::Capture(captured.events.clone())), captured)
    }

    /// Records an event.
    pub fn emit(&self, event: Event) {
        self.inner.emit(event);
    }

    /// Returns when everything emitted so far is written. Blocks the thread for that long.
    pub fn flush(&self) {
        self.inner.flush();
    }
}

impl From<sink::Sink> for Events {
    fn from(sinks: sink::Sink) -> Self {
        Self { inner: Arc::new(sinks) }
    }
}

/// What [`Events::capture`] collects.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    events: Arc<Mutex<Vec<Event>>>,
}

impl Captured {
    /// Everything emitted so far, oldest first.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The ids of everything emitted so far, oldest first.
    pub fn ids(&self) -> Vec<u32> {
        self.events().iter().map(|event| event.entry().id).collect()
    }
}

#[cfg(test)]
mod tests;
