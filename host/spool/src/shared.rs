//! What every handle of the spool, and its threads, have in common.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, SetOnce};

use super::SpoolOptions;
use super::index::Index;
use super::janitor::CleanupTask;
use super::store::SpoolStore;
use crate::buffer_budget::BufferBudget;
use crate::disk_space::Disk;
use crate::recent_writes::RecentWrites;
use crate::write_latency::WriteLatency;
use host_events::Events;
use host_mail::MessageId;

pub(super) struct Shared {
    pub store: SpoolStore,
    pub disk: Disk,
    pub pace: WriteLatency,
    pub memory: Arc<BufferBudget>,
    pub events: Events,
    pub changed: Notify,
    pub janitor: Sender<CleanupTask>,
    /// Messages that are being received, or being put.
    pub underway: Arc<AtomicUsize>,
    /// Set when all that the last run left is in the index.
    pub recovered: SetOnce<()>,
    /// Nothing is to be begun any more.
    pub closing: AtomicBool,
    index: Mutex<Index>,
    drafts: Mutex<HashSet<MessageId>>,
    fresh: Mutex<RecentWrites>,
}

impl Shared {
    pub fn new(
        store: SpoolStore,
        disk: Disk,
        options: &SpoolOptions,
        events: Events,
        janitor: Sender<CleanupTask>,
    ) -> Self {
        Self {
            store,
            disk,
            pace: WriteLatency::new(options.wait, events.clone()),
            memory: BufferBudget::new(options.memory),
            events,
            changed: Notify::new(),
            janitor,
            underway: Arc::default(),
            recovered: SetOnce::new(),
            closing: AtomicBool::new(false),
            index: Mutex::default(),
            drafts: Mutex::default(),
            fresh: Mutex::default(),
        }
    }

    /// Held for a moment only, never across a read or write of the disk.
    pub fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held for a moment only, and never together with the index.
    pub fn fresh(&self) -> MutexGuard<'_, RecentWrites> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An id that no message and no draft has.
    pub fn reserve(self: &Arc<Self>) -> Reserved {
        loop {
            let id = MessageId::generate();
            // A store that cannot be read will not be written either: that is where the error shows.
            if !self.store.has_record(id).unwrap_or(false) && self.drafts().insert(id) {
                self.underway.fetch_add(1, Ordering::Relaxed);
                return Reserved {
                    shared: self.clone(),
                    id,
                };
            }
        }
    }

    fn drafts(&self) -> MutexGuard<'_, HashSet<MessageId>> {
        self.drafts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody else gets this id while it lives; afterwards its record says so, or it is free again.
pub(super) struct Reserved {
    shared: Arc<Shared>,
    pub id: MessageId,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.shared.drafts().remove(&self.id);
        self.shared.underway.fetch_sub(1, Ordering::Relaxed);
    }
}
