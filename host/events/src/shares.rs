//! The durable log in shares: a journal for each kind of events, with a part of the log's size. A flood of one kind
//! removes old events of that kind only.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::catalogue::{EventKind, Severity};
use super::event_record::EventRecord;
use super::journal::{self, Journal, Tail};

/// Ids of events below [`Severity::Error`] about the host's own course: starts and stops, reloads, policies, operators.
/// No client, message or policy can cause them in large numbers.
const OPERATION: [u32; 27] = [
    5000, 5001, 5002, 5003, 5005, 5011, 5014, 5015, 5023, 5024, 5028, 5033, 5034, 5036, 5037, 5039, 5042, 5045, 5046,
    5047, 5049, 5053, 5054, 5066, 5097, 5098, 5131,
];

/// Size of text that is appended at once: small enough that a segment of a small log does not outgrow its bound.
const MAX_APPEND: usize = 8 * 1024;

/// A part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogShare {
    /// Infos about mail, clients and policies: half of the log.
    Traffic,
    /// Warnings about mail, clients and policies: a quarter.
    Warnings,
    /// Infos and warnings about the host's own course: an eighth.
    Operation,
    /// Errors: an eighth.
    Errors,
}

/// Ends of the journals, in the order of [`LogShare::ALL`].
pub(super) type Tails = [Tail; 4];

impl LogShare {
    pub(super) const ALL: [Self; 4] = [Self::Traffic, Self::Warnings, Self::Operation, Self::Errors];

    /// Returns the share of a kind of events.
    pub(super) fn of(kind: &EventKind) -> Self {
        match kind.severity {
            Severity::Error => Self::Errors,
            _ if OPERATION.contains(&kind.id) => Self::Operation,
            Severity::Warning => Self::Warnings,
            Severity::Info => Self::Traffic,
        }
    }

    /// Folder of the journal. Earlier releases had a single journal, in the folder of the share of traffic.
    fn folder(self, dir: &Path) -> PathBuf {
        match self {
            Self::Traffic => dir.to_owned(),
            Self::Warnings => dir.join("warnings"),
            Self::Operation => dir.join("operation"),
            Self::Errors => dir.join("errors"),
        }
    }

    fn size(self, max_bytes: u64) -> u64 {
        match self {
            Self::Traffic => max_bytes / 2,
            Self::Warnings => max_bytes / 4,
            Self::Operation | Self::Errors => max_bytes / 8,
        }
    }
}

/// The writing end of all shares.
pub(super) struct JournalShares {
    journals: Vec<Journal>,
    /// Number of the last event. Numbers order the events of all shares, also over restarts.
    last_number: u64,
}

/// A line of a journal.
#[derive(Deserialize)]
pub(super) struct NumberedRecord {
    /// Number of the event; 0 in lines of earlier releases.
    #[serde(default, rename = "seq")]
    pub(super) number: u64,
    #[serde(flatten)]
    pub(super) record: EventRecord,
}

impl JournalShares {
    /// Opens or creates the journals in `dir`.
    ///
    /// # Errors
    /// As those of [`Journal::open`].
    pub(super) fn open(dir: &Path, max_bytes: u64) -> io::Result<Self> {
        let open = |share: LogShare| Journal::open(&share.folder(dir), share.size(max_bytes));
        let journals = LogShare::ALL.into_iter().map(open).collect::<io::Result<Vec<_>>>()?;
        let newest = read_newest_first(dir, None, &|_| true, 1)?;
        Ok(Self {
            journals,
            last_number: newest.iter().map(|line| line.number).max().unwrap_or(0),
        })
    }

    pub(super) fn tails(&self) -> Tails {
        LogShare::ALL.map(|share| self.journals[share as usize].tail().clone())
    }

    /// Appends events as JSON objects without line ends, each to its share. Errors are durable on return.
    ///
    /// # Errors
    /// The first I/O error; the other shares are written nevertheless.
    pub(super) fn append(&mut self, events: impl Iterator<Item = (LogShare, String)>) -> io::Result<()> {
        let mut texts = LogShare::ALL.map(|_| String::new());
        let mut result = Ok(());
        for (share, mut line) in events {
            self.last_number += 1;
            // The object's end makes room for the number.
            line.truncate(line.len().saturating_sub(1));
            let text = &mut texts[share as usize];
            text.push_str(&line);
            text.push_str(&format!(",\"seq\":{}}}\n", self.last_number));
            if text.len() >= MAX_APPEND {
                result = result.and(self.append_to(share, text));
                text.clear();
            }
        }
        for share in LogShare::ALL {
            result = result.and(self.append_to(share, &texts[share as usize]));
        }
        result
    }

    fn append_to(&mut self, share: LogShare, text: &str) -> io::Result<()> {
        match text {
            "" => Ok(()),
            _ => self.journals[share as usize].append(text.as_bytes(), share == LogShare::Errors),
        }
    }
}

/// Reads the newest records of each share that `wants` selects, at most `max_records` of each, newest first. Reads no
/// more segments than needed.
pub(super) fn read_newest_first(
    dir: &Path,
    tails: Option<&Tails>,
    wants: &dyn Fn(&EventRecord) -> bool,
    max_records: usize,
) -> io::Result<Vec<NumberedRecord>> {
    let mut found = Vec::new();
    for share in LogShare::ALL {
        let folder = share.folder(dir);
        let tail = tails.map(|tails| &tails[share as usize]);
        let mut of_share = Vec::new();
        for segment in journal::segments(&folder)?.into_iter().rev() {
            let bytes = journal::read_segment(&folder, segment, tail)?;
            let records = bytes
                .rsplit(|b| *b == b'\n')
                .filter_map(|line| serde_json::from_slice::<NumberedRecord>(line).ok())
                .filter(|line| wants(&line.record));
            of_share.extend(records.take(max_records - of_share.len()));
            if of_share.len() >= max_records {
                break;
            }
        }
        found.extend(of_share);
    }
    // Stable: lines without a number stay in their order.
    found.sort_by_key(|line| std::cmp::Reverse(line.number));
    Ok(found)
}
