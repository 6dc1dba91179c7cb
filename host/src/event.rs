//! What an operator is told: events with stable ids, one variant each, rendered in one place.
//!
//! The catalogue (`docs/events.md`) is made from the table below.

mod catalogue;
mod log;
mod render;

use std::sync::Arc;

pub use catalogue::{Entry, Event, PolicyFault, Severity, catalogue, catalogue_markdown};
pub use log::{EventLog, Query, Record};
pub use render::{Format, escape};

/// Where events go: structured log on stdout and the durable log. Cheap to clone; never blocks.
#[derive(Clone)]
pub struct Events {
    inner: Arc<log::Sinks>,
}

impl Events {
    /// Records an event.
    pub fn emit(&self, event: Event) {
        self.inner.emit(&event);
    }
}
