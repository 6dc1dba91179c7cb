//! A recorded event.

use serde::{Deserialize, Serialize};

use super::{Event, Severity};
use host_mail::Timestamp;

/// A recorded event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Time of the event, RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// Id of the event in the catalogue.
    pub id: u32,
    /// Name of the event in the catalogue.
    pub name: String,
    /// Severity: `info`, `warning` or `error`.
    pub severity: Severity,
    /// Fields of the event, a JSON object with keys in kebab-case.
    pub fields: serde_json::Value,
}

impl EventRecord {
    /// Creates the record of an event that was emitted at the given time.
    pub fn new(at: Timestamp, event: &Event) -> Self {
        let entry = event.entry();
        Self {
            time: at.to_string(),
            id: entry.id,
            name: entry.name.to_owned(),
            severity: entry.severity,
            fields: serde_json::to_value(event).unwrap_or_default(),
        }
    }
}
