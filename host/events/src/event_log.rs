//! Readers of the durable event log: queries of recorded events and a live feed of new records.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::event_record::EventRecord;
use super::journal;
use super::shares::{Tails, read_newest_first};
use crate::recently_accepted::RecentlyAccepted;
use host_mail::Timestamp;

/// Records that a follower may lag behind. A slower follower misses records.
const FOLLOWER_BACKLOG: usize = 4096;

/// Records so far, and a receiver of later records; `None` if the log has no writer in this process.
pub type Followed = (Vec<EventRecord>, Option<broadcast::Receiver<Arc<EventRecord>>>);

/// Selects records of the log. The default selects all.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Selects events with this catalogue id only.
    pub id: Option<u32>,
    /// Selects at most this many of the newest records.
    pub last: Option<usize>,
}

impl Query {
    /// True if the query selects the record, apart from `last`.
    pub fn wants(&self, record: &EventRecord) -> bool {
        self.id.is_none_or(|id| record.id == id)
    }
}

/// State shared by the writer of the log and the readers.
pub(super) struct LogFeed {
    /// Ends of the written log. The lock is held while records are written and sent to followers.
    pub(super) tails: Mutex<Tails>,
    /// Sends each new record to the followers.
    pub(super) records: broadcast::Sender<Arc<EventRecord>>,
}

impl LogFeed {
    pub(super) fn new(tails: Tails) -> Self {
        Self {
            tails: Mutex::new(tails),
            records: broadcast::channel(FOLLOWER_BACKLOG).0,
        }
    }
}

/// A reader of the event log. Clones are cheap.
#[derive(Clone)]
pub struct EventLog {
    dir: PathBuf,
    /// Time at which this reader was made, for the log of this process before its first event.
    opened: Timestamp,
    feed: Option<Arc<LogFeed>>,
}

impl EventLog {
    /// A reader of the log that this process writes.
    pub(super) fn live(dir: PathBuf, feed: Arc<LogFeed>) -> Self {
        Self {
            dir,
            opened: Timestamp::now(),
            feed: Some(feed),
        }
    }

    /// Creates a reader of the log in `dir`, independent of a running host. Such a reader cannot follow the log.
    pub fn at_rest(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            opened: Timestamp::now(),
            feed: None,
        }
    }

    /// Reads the selected records, oldest first. Lines that a crash has torn are skipped. Blocks on the disk.
    pub fn query(&self, query: &Query) -> io::Result<Vec<EventRecord>> {
        let tails = self.feed.as_ref().map(|feed| feed.tails.lock().clone());
        self.read(query, tails.as_ref())
    }

    /// Reads the selected records, like [`Self::query`], and subscribes to later records, without a gap or an overlap.
    /// The receiver gets all later records, selected or not; a reader made by [`Self::at_rest`] has no receiver.
    pub fn follow(&self, query: &Query) -> io::Result<Followed> {
        let Some(feed) = &self.feed else {
            return Ok((self.read(query, None)?, None));
        };
        let (tails, receiver) = {
            let tails = feed.tails.lock();
            (tails.clone(), feed.records.subscribe())
        };
        Ok((self.read(query, Some(&tails))?, Some(receiver)))
    }

    /// Reads the end of the log of the last run: the messages of which the acceptance (5006) is recorded there. Without a
    /// log of an earlier run nothing is known. Blocks on the disk.
    pub fn recently_accepted(&self) -> io::Result<RecentlyAccepted> {
        let mut found = RecentlyAccepted::default();
        for segment in journal::segments(&self.dir)?.into_iter().rev() {
            let bytes = journal::read_segment(&self.dir, segment, None)?;
            let lines = bytes.rsplit(|b| *b == b'\n');
            let mut records = lines.filter_map(|line| serde_json::from_slice::<EventRecord>(line).ok());
            if records.any(|record| !found.add(&record, self.opened)) {
                break;
            }
        }
        Ok(found)
    }

    fn read(&self, query: &Query, tails: Option<&Tails>) -> io::Result<Vec<EventRecord>> {
        let max_records = query.last.unwrap_or(usize::MAX);
        let mut newest_first = read_newest_first(&self.dir, tails, &|record| query.wants(record), max_records)?;
        newest_first.truncate(max_records);
        Ok(newest_first.into_iter().rev().map(|line| line.record).collect())
    }
}
