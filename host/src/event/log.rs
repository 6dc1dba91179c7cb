//! The durable, bounded event log.

use serde::{Deserialize, Serialize};

use super::Event;

/// An event as it was recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// RFC 3339.
    pub time: String,
    /// Catalogue id.
    pub id: u32,
    /// Catalogue name.
    pub name: String,
    /// `info`, `warning`, `error`.
    pub severity: super::Severity,
    /// The event's fields.
    pub fields: serde_json::Value,
}

/// Which records to read.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only this event.
    pub id: Option<u32>,
    /// At most the last so many.
    pub last: Option<usize>,
}

/// Reads what was recorded.
pub struct EventLog {}

pub(super) struct Sinks {}

impl Sinks {
    pub(super) fn emit(&self, _event: &Event) {
        todo!()
    }
}
