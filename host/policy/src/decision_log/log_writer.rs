//! The writer of the log of decisions: a thread that hashes, encodes, appends in batches (group commit) and trims.
//! Started by the log.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::Record;
use crate::decision_log::hash_key::HashKey;
use host_config::{Config, RecordMode};
use host_events::{Event, Events};
use host_mail::{RecordId, Timestamp};
use host_spool::Log;

/// Maximum number of records in a batch.
const MAX_BATCH: usize = 256;
/// Longest sleep of the thread, so that the log is trimmed even without records.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Time for which a batch collects records. Waking the thread for each record would slow the mail.
const LINGER: Duration = Duration::from_millis(20);
/// Interval between searches for old records.
const TRIM_INTERVAL: Duration = Duration::from_secs(60);
/// Divisor of the size bound: the log may exceed the bound by this fraction before a trim.
const SLACK: u64 = 16;
/// Time without a dropped record after which records are reported as complete again.
const RECOVERY_TIME: Duration = Duration::from_secs(5);

/// A message to the writer's thread.
pub(super) enum LogItem {
    Record(Box<Record>, RecordMode),
    Close,
}

/// Bytes in the queue, and the number of records that were dropped because the queue was full.
#[derive(Default)]
pub(super) struct PendingRecords {
    waiting: AtomicUsize,
    dropped: AtomicU64,
}

impl PendingRecords {
    /// Reserves room for a record of `weight` bytes. Without room, the record is counted as dropped.
    pub fn reserve(&self, weight: usize, limit: usize) -> bool {
        let before = self.waiting.fetch_add(weight, Ordering::Relaxed);
        let fits = before.saturating_add(weight) <= limit;
        if !fits {
            self.release(weight);
            self.count_dropped();
        }
        fits
    }

    pub fn release(&self, weight: usize) {
        self.waiting.fetch_sub(weight, Ordering::Relaxed);
    }

    pub fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// The state of the writer's thread.
pub(super) struct LogWriter {
    log: Log,
    config: Arc<ArcSwap<Config>>,
    events: Events,
    key: HashKey,
    pending: Arc<PendingRecords>,
    trimmed: Option<Instant>,
    /// Bytes written since the last trim.
    written: u64,
    missed: MissedRecords,
}

/// Records that are missing in the log.
#[derive(Default)]
struct MissedRecords {
    count: u64,
    last: Option<Instant>,
}

impl LogWriter {
    pub fn new(
        log: Log,
        config: Arc<ArcSwap<Config>>,
        events: Events,
        key: HashKey,
        pending: Arc<PendingRecords>,
    ) -> Self {
        Self {
            log,
            config,
            events,
            key,
            pending,
            trimmed: None,
            written: 0,
            missed: MissedRecords::default(),
        }
    }

    /// Writes until the log is closed.
    pub fn run(mut self, received: &Receiver<LogItem>) {
        let mut batch_full = false;
        loop {
            let mut batch = Vec::new();
            let mut is_open = true;
            match received.recv_timeout(POLL_INTERVAL) {
                Ok(first) => {
                    if !batch_full {
                        std::thread::sleep(LINGER);
                    }
                    let more = received.try_iter().take(MAX_BATCH - 1);
                    for item in std::iter::once(first).chain(more) {
                        match item {
                            LogItem::Record(record, mode) => batch.push(self.entry(*record, mode)),
                            LogItem::Close => is_open = false,
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => is_open = false,
            }
            batch_full = batch.len() == MAX_BATCH;
            self.write(batch);
            self.trim();
            if !is_open {
                return;
            }
        }
    }

    fn entry(&self, record: Record, mode: RecordMode) -> Option<(String, Vec<u8>)> {
        self.pending.release(record.weight());
        let encode = || {
            let record = match mode {
                RecordMode::Hashed => record.redact(&|text| self.key.hash(text)),
                RecordMode::On | RecordMode::Off => record,
            };
            let bytes = serde_json::to_vec(&record).ok()?;
            Some((record.id.to_string(), bytes))
        };
        // A panic here costs a single record instead of the thread.
        catch_unwind(AssertUnwindSafe(encode)).ok().flatten()
    }

    fn write(&mut self, batch: Vec<Option<(String, Vec<u8>)>>) {
        let received = batch.len() as u64;
        let entries: Vec<_> = batch.into_iter().flatten().collect();
        let lost = received - entries.len() as u64;
        let bytes: usize = entries.iter().map(|(_, record)| record.len()).sum();
        let written = if entries.is_empty() {
            Ok(())
        } else {
            self.log.append(entries)
        };
        self.written = self.written.saturating_add(bytes as u64);
        let overflowed = self.pending.dropped.swap(0, Ordering::Relaxed);
        match written {
            Err(error) => self.report_missed(received + overflowed, &error.to_string()),
            Ok(()) if lost > 0 => self.report_missed(lost + overflowed, "a defect of the host"),
            Ok(()) if overflowed > 0 => self.report_missed(overflowed, "more came than could be written"),
            Ok(()) if received > 0 => self.report_recovered(),
            Ok(()) => {}
        }
    }

    /// Emits Event 5036 for the first missing record; later records are counted.
    fn report_missed(&mut self, count: u64, reason: &str) {
        if self.missed.count == 0 {
            self.events.emit(Event::RecordsDropped {
                count,
                reason: reason.to_owned(),
            });
        }
        self.missed.count += count;
        self.missed.last = Some(Instant::now());
    }

    /// Emits Event 5049 once no record was dropped for a while.
    fn report_recovered(&mut self) {
        if self.missed.last.is_some_and(|last| last.elapsed() >= RECOVERY_TIME) {
            self.events.emit(Event::RecordsResumed {
                missed: self.missed.count,
            });
            self.missed = MissedRecords::default();
        }
    }

    /// Removes records that are too old or exceed the size bound, now and then. Failures are retried later.
    fn trim(&mut self) {
        let bounds = self.config.load().decisions.clone();
        let trimmed_recently = self.trimmed.is_some_and(|last| last.elapsed() < TRIM_INTERVAL);
        if trimmed_recently && self.written <= bounds.size / SLACK {
            return;
        }
        self.trimmed = Some(Instant::now());
        self.written = 0;
        let age = u64::try_from(bounds.age.as_millis()).unwrap_or(u64::MAX);
        let oldest = RecordId::first(Timestamp(Timestamp::now().0.saturating_sub(age)));
        if let Err(error) = self.log.trim(&oldest.to_string(), bounds.size) {
            tracing::warn!(%error, "the log of decisions could not be trimmed");
        }
    }
}
