//! Counts of the current day and of days that are not reported yet, in memory and in a file.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use host_files::replace_whole;
use host_mail::Timestamp;

use crate::tls_report_counts::{DayCounts, FailureKind, SessionScope, day_of};

/// Days that are kept for a report.
const MAX_DAYS: usize = 3;

/// Counts by day.
pub(super) struct TlsReports {
    /// File of the counts; `None` keeps them in memory only.
    file: Option<PathBuf>,
    is_on: AtomicBool,
    days: Mutex<Vec<DayCounts>>,
    /// True if the file is behind.
    is_changed: AtomicBool,
}

impl TlsReports {
    /// Creates counts that are off, without I/O.
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            is_on: AtomicBool::new(false),
            days: Mutex::default(),
            is_changed: AtomicBool::new(false),
        }
    }

    /// Switches counting.
    pub(super) fn switch(&self, on: bool) {
        self.is_on.store(on, Ordering::Relaxed);
    }

    /// True if sessions are counted.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Counts a session.
    pub(super) fn count(&self, scope: &SessionScope, failure: Option<FailureKind>) {
        if !self.is_on() {
            return;
        }
        let today = day_of(Timestamp::now());
        let mut days = self.days.lock();
        if days.last().is_none_or(|last| last.day != today) {
            days.push(DayCounts {
                day: today,
                ..DayCounts::default()
            });
            let excess = days.len().saturating_sub(MAX_DAYS);
            days.drain(..excess);
        }
        if let Some(last) = days.last_mut() {
            last.count(scope, failure);
        }
        self.is_changed.store(true, Ordering::Relaxed);
    }

    /// Returns the first day that has ended, and keeps it until [`Self::remove`].
    pub(super) fn ended(&self) -> Option<DayCounts> {
        let today = day_of(Timestamp::now());
        self.days.lock().iter().find(|day| day.day < today).cloned()
    }

    /// Removes a day that was reported.
    pub(super) fn remove(&self, day: u64) {
        self.days.lock().retain(|counts| counts.day != day);
        self.is_changed.store(true, Ordering::Relaxed);
    }

    /// Reads the file. Blocks. A file that cannot be read counts as empty.
    pub(super) fn load(&self) {
        let Some(file) = &self.file else { return };
        let read = std::fs::read(file).ok();
        if let Some(mut read) = read.and_then(|octets| serde_json::from_slice::<Vec<DayCounts>>(&octets).ok()) {
            read.truncate(MAX_DAYS);
            *self.days.lock() = read;
        }
    }

    /// Writes the file if it is behind. Blocks.
    pub(super) fn store(&self) {
        let Some(file) = &self.file else { return };
        if !self.is_changed.swap(false, Ordering::Relaxed) {
            return;
        }
        let octets = serde_json::to_vec(&*self.days.lock());
        let written = octets
            .map_err(std::io::Error::other)
            .and_then(|octets| replace_whole(file, &octets));
        if let Err(error) = written {
            self.is_changed.store(true, Ordering::Relaxed);
            tracing::warn!(%error, "counts of TLS sessions were not written");
        }
    }
}
