//! The thread that writes: it hashes, encodes, appends and trims.

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

/// Records written at once.
const BATCH: usize = 256;
/// How long the thread sleeps if nothing comes.
const LOOK: Duration = Duration::from_secs(1);
/// Records of so long are written together: a thread that is woken for each would cost the mail.
const GATHER: Duration = Duration::from_millis(20);
/// How often old records are looked for.
const TRIM: Duration = Duration::from_secs(60);
/// The log grows by at most this part beyond its bound before it is cut back.
const SLACK: u64 = 16;
/// So long nothing must have been dropped before the host says that records are complete again.
const QUIET: Duration = Duration::from_secs(5);

/// What the thread is told.
pub(super) enum Item {
    Record(Box<Record>, RecordMode),
    Close,
}

/// What waits, and what was dropped because too much did.
#[derive(Default)]
pub(super) struct PendingRecords {
    waiting: AtomicUsize,
    count: AtomicU64,
}

impl PendingRecords {
    /// Room for so many bytes; counts what has none.
    pub fn reserve(&self, weight: usize, limit: usize) -> bool {
        let before = self.waiting.fetch_add(weight, Ordering::Relaxed);
        let fits = before.saturating_add(weight) <= limit;
        if !fits {
            self.give_back(weight);
            self.count();
        }
        fits
    }

    pub fn give_back(&self, weight: usize) {
        self.waiting.fetch_sub(weight, Ordering::Relaxed);
    }

    pub fn count(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) struct LogWriter {
    log: Log,
    config: Arc<ArcSwap<Config>>,
    events: Events,
    key: HashKey,
    dropped: Arc<PendingRecords>,
    trimmed: Option<Instant>,
    /// Bytes since then.
    written: u64,
    missed: MissedRecords,
}

/// Records that are not in the log although they should be.
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
        dropped: Arc<PendingRecords>,
    ) -> Self {
        Self {
            log,
            config,
            events,
            key,
            dropped,
            trimmed: None,
            written: 0,
            missed: MissedRecords::default(),
        }
    }

    pub fn run(mut self, received: &Receiver<Item>) {
        let mut full = false;
        loop {
            let mut batch = Vec::new();
            let mut open = true;
            match received.recv_timeout(LOOK) {
                Ok(first) => {
                    if !full {
                        std::thread::sleep(GATHER);
                    }
                    let more = received.try_iter().take(BATCH - 1);
                    for item in std::iter::once(first).chain(more) {
                        match item {
                            Item::Record(record, mode) => batch.push(self.entry(*record, mode)),
                            Item::Close => open = false,
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => open = false,
            }
            full = batch.len() == BATCH;
            self.write(batch);
            self.trim();
            if !open {
                return;
            }
        }
    }

    fn entry(&self, record: Record, mode: RecordMode) -> Option<(String, Vec<u8>)> {
        self.dropped.give_back(record.weight());
        let encode = || {
            let record = match mode {
                RecordMode::Hashed => record.redact(&|text| self.key.hash(text)),
                RecordMode::On | RecordMode::Off => record,
            };
            let bytes = serde_json::to_vec(&record).ok()?;
            Some((record.id.to_string(), bytes))
        };
        // A defect here must cost one record and not all that come after it.
        catch_unwind(AssertUnwindSafe(encode)).ok().flatten()
    }

    fn write(&mut self, batch: Vec<Option<(String, Vec<u8>)>>) {
        let wanted = batch.len() as u64;
        let entries: Vec<_> = batch.into_iter().flatten().collect();
        let lost = wanted - entries.len() as u64;
        let bytes: usize = entries.iter().map(|(_, record)| record.len()).sum();
        let written = if entries.is_empty() {
            Ok(())
        } else {
            self.log.append(entries)
        };
        self.written = self.written.saturating_add(bytes as u64);
        let flooded = self.dropped.count.swap(0, Ordering::Relaxed);
        match written {
            Err(error) => self.miss(wanted + flooded, &error.to_string()),
            Ok(()) if lost > 0 => self.miss(lost + flooded, "a defect of the host"),
            Ok(()) if flooded > 0 => self.miss(flooded, "more came than could be written"),
            Ok(()) if wanted > 0 => self.recovered(),
            Ok(()) => {}
        }
    }

    /// Says so at the first (5036); the rest are counted.
    fn miss(&mut self, count: u64, reason: &str) {
        if self.missed.count == 0 {
            self.events.emit(Event::RecordsDropped {
                count,
                reason: reason.to_owned(),
            });
        }
        self.missed.count += count;
        self.missed.last = Some(Instant::now());
    }

    fn recovered(&mut self) {
        if self.missed.last.is_some_and(|last| last.elapsed() >= QUIET) {
            self.events.emit(Event::RecordsResumed {
                missed: self.missed.count,
            });
            self.missed = MissedRecords::default();
        }
    }

    /// Now and then, what is too old or too much. What cannot be removed now is tried again.
    fn trim(&mut self) {
        let bounds = self.config.load().decisions.clone();
        let lately = self.trimmed.is_some_and(|last| last.elapsed() < TRIM);
        if lately && self.written <= bounds.size / SLACK {
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
