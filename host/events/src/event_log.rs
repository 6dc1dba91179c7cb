//! Reading the durable event log: what was recorded, and what is being recorded.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::journal::{self, Tail};
use super::{Event, Severity};
use host_mail::Timestamp;

/// Records a follower may lag behind before it misses some.
const FOLLOWER_BACKLOG: usize = 4096;

/// An event as it was recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// RFC 3339.
    pub time: String,
    /// Catalogue id.
    pub id: u32,
    /// Catalogue name.
    pub name: String,
    /// `info`, `warning`, `error`.
    pub severity: Severity,
    /// The event's fields.
    pub fields: serde_json::Value,
}

impl EventRecord {
    /// The event as it is kept.
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

/// What was recorded, and a receiver of what is recorded from then on, if anybody writes the log.
pub type Followed = (Vec<EventRecord>, Option<broadcast::Receiver<Arc<EventRecord>>>);

/// Which records to read.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only this event.
    pub id: Option<u32>,
    /// At most the last so many.
    pub last: Option<usize>,
}

impl Query {
    /// Whether the record is asked for.
    pub fn wants(&self, record: &EventRecord) -> bool {
        self.id.is_none_or(|id| record.id == id)
    }
}

/// What the writer and its readers share.
pub(super) struct LogFeed {
    /// How far the log is written; held while records are written and announced.
    pub(super) tail: Mutex<Tail>,
    pub(super) records: broadcast::Sender<Arc<EventRecord>>,
}

impl LogFeed {
    pub(super) fn new(tail: Tail) -> Self {
        Self {
            tail: Mutex::new(tail),
            records: broadcast::channel(FOLLOWER_BACKLOG).0,
        }
    }
}

/// Reads what was recorded. Cheap to clone.
#[derive(Clone)]
pub struct EventLog {
    dir: PathBuf,
    live: Option<Arc<LogFeed>>,
}

impl EventLog {
    pub(super) fn live(dir: PathBuf, live: Arc<LogFeed>) -> Self {
        Self { dir, live: Some(live) }
    }

    /// The log of a host that may not be running; it cannot be followed.
    pub fn at_rest(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            live: None,
        }
    }

    /// What was recorded so far, oldest first. Lines that a crash has torn are passed over.
    pub fn query(&self, query: &Query) -> io::Result<Vec<EventRecord>> {
        let tail = self.live.as_ref().map(|live| lock(&live.tail).clone());
        self.read(query, tail.as_ref())
    }

    /// What was recorded so far, and a receiver of what is recorded from then on: no record is in
    /// both, none is lost between them. The receiver gets every record, wanted or not; there is
    /// none for a log at rest.
    pub fn follow(&self, query: &Query) -> io::Result<Followed> {
        let Some(live) = &self.live else {
            return Ok((self.read(query, None)?, None));
        };
        let (tail, receiver) = {
            let tail = lock(&live.tail);
            (tail.clone(), live.records.subscribe())
        };
        Ok((self.read(query, Some(&tail))?, Some(receiver)))
    }

    /// From the newest segment back, so that `last` reads no more than it must.
    fn read(&self, query: &Query, tail: Option<&Tail>) -> io::Result<Vec<EventRecord>> {
        let wanted = query.last.unwrap_or(usize::MAX);
        let mut newest_first = Vec::new();
        for segment in journal::segments(&self.dir)?.into_iter().rev() {
            let bytes = journal::read_segment(&self.dir, segment, tail)?;
            let records = bytes
                .rsplit(|b| *b == b'\n')
                .filter_map(|line| serde_json::from_slice::<EventRecord>(line).ok())
                .filter(|record| query.wants(record));
            newest_first.extend(records.take(wanted - newest_first.len()));
            if newest_first.len() >= wanted {
                break;
            }
        }
        newest_first.reverse();
        Ok(newest_first)
    }
}

/// A poisoned tail is still a valid tail.
pub(super) fn lock(tail: &Mutex<Tail>) -> std::sync::MutexGuard<'_, Tail> {
    tail.lock().unwrap_or_else(PoisonError::into_inner)
}
