//! The file of the login limits: counts and known networks survive a restart, so that a restart neither forgives
//! guesses nor locks out the owner of an account under attack. Times are kept by the clock of the system.

use std::collections::HashMap;
use std::fs;
use std::hash::Hash;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::login_tables::{Failures, KNOWN_FOR, LoginTables, MAX_ENTRIES};
use host_events::{Event, Events};
use host_files::replace_whole;

/// Length of the key of hashed names, in bytes.
pub(super) const KEY_LENGTH: usize = 32;
/// Maximum size of the file in bytes, above what the bounded tables need.
const MAX_SIZE: u64 = 32 * 1024 * 1024;

/// Content of the file, as JSON. Times are seconds since 1970.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct StoredLogins {
    key: Vec<u8>,
    networks: Vec<(IpAddr, StoredFailures)>,
    accounts: Vec<(u64, StoredFailures)>,
    known_pairs: Vec<(u64, u64)>,
    known_networks: Vec<(IpAddr, u64)>,
}

/// Failed logins: their number, the end of the window, and the end of a refusal.
type StoredFailures = (u32, u64, Option<u64>);

/// A moment on both clocks.
#[derive(Clone, Copy)]
struct Moment {
    instant: Instant,
    seconds: u64,
}

impl Moment {
    fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            instant: Instant::now(),
            seconds: since.as_secs(),
        }
    }

    /// Returns a time in seconds; a time that is over becomes now.
    fn to_seconds(self, time: Instant) -> u64 {
        let left = time.saturating_duration_since(self.instant);
        // Rounded up, so that a restart never ends a refusal early.
        self.seconds.saturating_add(left.as_millis().div_ceil(1000) as u64)
    }

    /// Returns the time of `seconds`, at most seven days from now: the clock may have been changed meanwhile.
    fn to_instant(self, seconds: u64) -> Instant {
        let left = Duration::from_secs(seconds.saturating_sub(self.seconds)).min(KNOWN_FOR);
        self.instant.checked_add(left).unwrap_or(self.instant)
    }
}

impl StoredLogins {
    /// Reads a file. A missing or unreadable one has no entries; the latter is Event 5072.
    pub(super) fn read(file: &Path, events: &Events) -> Self {
        match read(file) {
            Ok(stored) => stored,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                events.emit(Event::FileMadeAgain {
                    file: file.display().to_string(),
                    reason: error.to_string(),
                });
                Self::default()
            }
        }
    }

    /// Returns the key and the tables; `None` without a key of the right length.
    pub(super) fn into_tables(self) -> Option<([u8; KEY_LENGTH], LoginTables)> {
        let now = Moment::now();
        let tables = LoginTables {
            networks: failures(self.networks, now),
            accounts: failures(self.accounts, now),
            known_pairs: known(self.known_pairs, now),
            known_networks: known(self.known_networks, now),
            is_changed: false,
        };
        Some((self.key.try_into().ok()?, tables))
    }

    /// Creates the content of the file.
    pub(super) fn new(key: [u8; KEY_LENGTH], tables: &LoginTables) -> Self {
        let now = Moment::now();
        Self {
            key: key.to_vec(),
            networks: stored_failures(&tables.networks, now),
            accounts: stored_failures(&tables.accounts, now),
            known_pairs: stored_known(&tables.known_pairs, now),
            known_networks: stored_known(&tables.known_networks, now),
        }
    }

    /// Writes the file, whole or not at all.
    pub(super) fn write(&self, file: &Path) -> io::Result<()> {
        replace_whole(file, &serde_json::to_vec(self)?)
    }
}

fn read(file: &Path) -> io::Result<StoredLogins> {
    if fs::metadata(file)?.len() > MAX_SIZE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "larger than the host makes it",
        ));
    }
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

fn stored_failures<K: Copy>(table: &HashMap<K, Failures>, now: Moment) -> Vec<(K, StoredFailures)> {
    let stored = |(key, failures): (&K, &Failures)| {
        let refused = failures.refused_until.map(|until| now.to_seconds(until));
        (*key, (failures.count, now.to_seconds(failures.window_ends), refused))
    };
    table.iter().map(stored).collect()
}

fn stored_known<K: Copy>(table: &HashMap<K, Instant>, now: Moment) -> Vec<(K, u64)> {
    table
        .iter()
        .map(|(key, until)| (*key, now.to_seconds(*until)))
        .collect()
}

fn failures<K: Eq + Hash>(stored: Vec<(K, StoredFailures)>, now: Moment) -> HashMap<K, Failures> {
    let failures = |(key, (count, window_ends, refused_until)): (K, StoredFailures)| {
        let failures = Failures {
            count,
            window_ends: now.to_instant(window_ends),
            refused_until: refused_until.map(|until| now.to_instant(until)),
        };
        (key, failures)
    };
    stored.into_iter().take(MAX_ENTRIES).map(failures).collect()
}

fn known<K: Eq + Hash>(stored: Vec<(K, u64)>, now: Moment) -> HashMap<K, Instant> {
    let known = |(key, until): (K, u64)| (key, now.to_instant(until));
    stored.into_iter().take(MAX_ENTRIES).map(known).collect()
}
