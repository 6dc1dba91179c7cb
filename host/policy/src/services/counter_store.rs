//! The counter store: counters with an end that policies keep in the host (`counters` in `wit/policy.wit`). Counters
//! are shared by all instances of a module, survive a change of the module's code, and survive restarts as of the last
//! save. Owned by the live services.

mod counter_snapshot;
mod counter_table;

use std::collections::{BinaryHeap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::services::counter_store::counter_snapshot::CounterSnapshot;
use crate::services::counter_store::counter_table::{CounterTable, TableFull};
use host_config::PolicyModule;
use host_engine::host_call::NoAnswer;
use host_events::{Event, Events};
use host_mail::Timestamp;

/// Maximum length of a key, in bytes.
const MAX_KEY: usize = 256;
/// Interval between saves: a crash loses at most the additions of this time.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// A counter that has not expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CounterStatus {
    /// Key chosen by the policy. Hostile: escape before display.
    pub key: String,
    /// Sum of the additions since the counter began.
    pub value: u64,
    /// Time at which the counter expires.
    pub ends: Timestamp,
}

/// A page of a module's counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CounterPage {
    /// Counters in the order of the keys.
    pub counters: Vec<CounterStatus>,
    /// Key to continue after; none on the last page.
    pub next: Option<String>,
    /// Number of all counters that have not expired.
    pub running: usize,
    /// Maximum number of counters of the module.
    pub limit: usize,
}

/// The counters of all modules.
pub(crate) struct CounterStore {
    modules: Mutex<HashMap<String, ModuleCounters>>,
    changed: AtomicBool,
    /// File of the counters; without a file, counters are lost at a restart.
    file: Option<PathBuf>,
    events: Events,
}

/// The counters of a module.
#[derive(Default)]
struct ModuleCounters {
    table: CounterTable,
    limit: usize,
    /// True while the table is full and the event has been emitted.
    full_reported: bool,
}

impl CounterStore {
    /// Reads the counters from `file`. A damaged file is renamed (5039) and the store starts empty.
    pub(crate) fn open(file: Option<PathBuf>, events: Events) -> Arc<Self> {
        let mut modules = HashMap::new();
        if let Some(file) = &file {
            match CounterSnapshot::read(file, Timestamp::now().seconds()) {
                Ok(saved) => {
                    let module = |table| ModuleCounters {
                        table,
                        ..ModuleCounters::default()
                    };
                    modules.extend(saved.into_tables().map(|(name, table)| (name, module(table))));
                }
                Err(error) => events.emit(Event::CountersLost { error }),
            }
        }
        Arc::new(Self {
            modules: Mutex::new(modules),
            changed: AtomicBool::new(false),
            file,
            events,
        })
    }

    /// Sets the limits of modules from the configuration.
    pub(crate) fn configure(&self, modules: &[PolicyModule]) {
        let mut modules_by_name = self.modules.lock();
        for configured in modules {
            modules_by_name.entry(configured.name.clone()).or_default().limit = configured.counters;
        }
    }

    /// Adds to a counter, which begins and ends as the contract says, and returns the new value.
    pub(crate) fn add(&self, module: &str, key: &str, amount: u64, seconds: u32) -> Result<u64, NoAnswer> {
        check_key(key)?;
        let now = Timestamp::now().seconds();
        let mut modules = self.modules.lock();
        let Some(counters) = modules.get_mut(module) else {
            return Err(NoAnswer::Full);
        };
        let added = counters.table.add(key, amount, seconds, now, counters.limit);
        let newly_full = added.is_err() && !counters.full_reported;
        counters.full_reported = added.is_err() || (counters.full_reported && counters.table.len() >= counters.limit);
        let limit = counters.limit;
        drop(modules);
        if newly_full {
            self.events.emit(Event::CountersFull {
                policy: module.to_owned(),
                limit: u64::try_from(limit).unwrap_or(u64::MAX),
            });
        }
        self.changed.store(true, Ordering::Relaxed);
        added.map_err(|TableFull| NoAnswer::Full)
    }

    /// Returns the value of a counter; 0 if there is none.
    pub(crate) fn value(&self, module: &str, key: &str) -> Result<u64, NoAnswer> {
        check_key(key)?;
        let now = Timestamp::now().seconds();
        let modules = self.modules.lock();
        Ok(modules.get(module).map_or(0, |counters| counters.table.value(key, now)))
    }

    /// Returns the first `limit` counters of a module with keys after `after`.
    pub(crate) fn page(&self, module: &str, after: Option<&str>, limit: usize) -> CounterPage {
        let now = Timestamp::now().seconds();
        let modules = self.modules.lock();
        let Some(counters) = modules.get(module) else {
            return CounterPage::default();
        };
        let mut first = BinaryHeap::new();
        let mut page = CounterPage {
            limit: counters.limit,
            ..CounterPage::default()
        };
        // Additions wait for the lock meanwhile, so no more counters are held than the page shows.
        for counter in counters.table.active(now) {
            page.running += 1;
            if after.is_none_or(|after| counter.0 > after) {
                first.push(counter);
                if first.len() > limit.saturating_add(1) {
                    first.pop();
                }
            }
        }
        let more = first.len() > limit;
        let counter = |(key, value, ends): (&str, u64, u64)| CounterStatus {
            key: key.to_owned(),
            value,
            ends: Timestamp(ends.saturating_mul(1000)),
        };
        page.counters = first.into_sorted_vec().into_iter().take(limit).map(counter).collect();
        page.next = page.counters.last().filter(|_| more).map(|last| last.key.clone());
        page
    }

    /// Saves the counters if there were changes. Blocks on the disk.
    pub(crate) fn save(&self) {
        let Some(file) = &self.file else {
            return;
        };
        if !self.changed.swap(false, Ordering::Relaxed) {
            return;
        }
        let now = Timestamp::now().seconds();
        let saved = CounterSnapshot::of(
            self.modules
                .lock()
                .iter()
                .map(|(name, counters)| (name, &counters.table)),
            now,
        );
        if let Err(error) = saved.write(file) {
            self.changed.store(true, Ordering::Relaxed);
            self.events.emit(Event::CountersNotSaved {
                error: format!("{}: {error}", file.display()),
            });
        } else {
            self.events.health().clear("counters");
        }
    }

    /// Starts a task that saves at intervals until the store is dropped.
    pub(crate) fn save_at_intervals(self: &Arc<Self>) {
        if self.file.is_none() {
            return;
        }
        let counters: Weak<Self> = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SAVE_EVERY).await;
                let Some(counters) = counters.upgrade() else {
                    return;
                };
                // A panic of the task has been printed already.
                let _ = tokio::task::spawn_blocking(move || counters.save()).await;
            }
        });
    }
}

fn check_key(key: &str) -> Result<(), NoAnswer> {
    if key.len() > MAX_KEY {
        return Err(NoAnswer::Other(format!(
            "a key has at most {MAX_KEY} bytes, not {}",
            key.len()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
