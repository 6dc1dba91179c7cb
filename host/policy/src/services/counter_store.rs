//! Numbers that the host keeps for the modules of the chain (`counters` in `wit/policy.wit`): over
//! all instances of a module and over a change of its code; over restarts as they were last saved.

mod counter_snapshot;
mod counter_table;

use std::collections::{BinaryHeap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::services::counter_store::counter_snapshot::Saved;
use crate::services::counter_store::counter_table::{CounterTable, TableFull};
use host_config::PolicyModule;
use host_engine::host_call::NoAnswer;
use host_events::{Event, Events};
use host_mail::Timestamp;

/// Longest key, in bytes.
const KEY: usize = 256;
/// What was counted since the last time may be lost in a crash.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// A counter that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CounterStatus {
    /// As the policy calls it. Hostile: escape it before showing it.
    pub key: String,
    /// What was added since it began.
    pub value: u64,
    /// From then on it is over.
    pub ends: Timestamp,
}

/// Some counters of a module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CounterPage {
    /// In the order of their keys.
    pub counters: Vec<CounterStatus>,
    /// Ask for those after this for more; none at the end.
    pub next: Option<String>,
    /// All that are not over.
    pub running: usize,
    /// What the configuration allows.
    pub limit: usize,
}

/// All counters of all modules.
pub(crate) struct CounterStore {
    modules: Mutex<HashMap<String, ModuleCounters>>,
    changed: AtomicBool,
    /// None keeps nothing over a restart.
    file: Option<PathBuf>,
    events: Events,
}

/// One module's counters.
#[derive(Default)]
struct ModuleCounters {
    table: CounterTable,
    limit: usize,
    /// It was said that there is no room, and there has been none since.
    told_full: bool,
}

impl CounterStore {
    /// What `file` has. A file that cannot be read is put aside (5039) and counting begins anew.
    pub(crate) fn open(file: Option<PathBuf>, events: Events) -> Arc<Self> {
        let mut modules = HashMap::new();
        if let Some(file) = &file {
            match Saved::read(file, Timestamp::now().seconds()) {
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

    /// What a configuration allows each module.
    pub(crate) fn configure(&self, modules: &[PolicyModule]) {
        let mut known = self.modules();
        for configured in modules {
            known.entry(configured.name.clone()).or_default().limit = configured.counters;
        }
    }

    /// Adds to a counter, which begins and ends as the contract says, and returns what it is now.
    pub(crate) fn add(&self, module: &str, key: &str, amount: u64, seconds: u32) -> Result<u64, NoAnswer> {
        check(key)?;
        let now = Timestamp::now().seconds();
        let mut modules = self.modules();
        let Some(of) = modules.get_mut(module) else {
            return Err(NoAnswer::Full);
        };
        let added = of.table.add(key, amount, seconds, now, of.limit);
        let newly_full = added.is_err() && !of.told_full;
        of.told_full = added.is_err() || (of.told_full && of.table.len() >= of.limit);
        let limit = of.limit;
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

    /// What a counter is now.
    pub(crate) fn value(&self, module: &str, key: &str) -> Result<u64, NoAnswer> {
        check(key)?;
        let now = Timestamp::now().seconds();
        let modules = self.modules();
        Ok(modules.get(module).map_or(0, |of| of.table.value(key, now)))
    }

    /// Those of a module that are not over, by key: of those after `after` the first `limit`.
    pub(crate) fn page(&self, module: &str, after: Option<&str>, limit: usize) -> CounterPage {
        let now = Timestamp::now().seconds();
        let modules = self.modules();
        let Some(of) = modules.get(module) else {
            return CounterPage::default();
        };
        let mut first = BinaryHeap::new();
        let mut page = CounterPage {
            limit: of.limit,
            ..CounterPage::default()
        };
        // Whoever counts waits meanwhile: of many no more is kept than is shown.
        for running in of.table.running(now) {
            page.running += 1;
            if after.is_none_or(|after| running.0 > after) {
                first.push(running);
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

    /// Makes what changed durable. Blocks on a disk.
    pub(crate) fn save(&self) {
        let Some(file) = &self.file else {
            return;
        };
        if !self.changed.swap(false, Ordering::Relaxed) {
            return;
        }
        let now = Timestamp::now().seconds();
        let saved = Saved::of(self.modules().iter().map(|(name, of)| (name, &of.table)), now);
        if let Err(error) = saved.write(file) {
            self.changed.store(true, Ordering::Relaxed);
            self.events.emit(Event::CountersNotSaved {
                error: format!("{}: {error}", file.display()),
            });
        }
    }

    /// Saves at intervals for as long as somebody counts.
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
                // Only a panic could be lost here, and it has been printed.
                let _ = tokio::task::spawn_blocking(move || counters.save()).await;
            }
        });
    }

    fn modules(&self) -> MutexGuard<'_, HashMap<String, ModuleCounters>> {
        // Nothing panics between two halves of a change.
        self.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(key: &str) -> Result<(), NoAnswer> {
    if key.len() > KEY {
        return Err(NoAnswer::Other(format!(
            "a key has at most {KEY} bytes, not {}",
            key.len()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
