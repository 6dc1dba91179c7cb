//! State of an open spool: store, index, limits.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use host_events::Events;
use host_mail::MessageId;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, SetOnce};

use crate::buffer_budget::BufferBudget;
use crate::disk_space::Disk;
use crate::index::Index;
use crate::janitor::cleanup_task::CleanupTask;
use crate::recent_writes::RecentWrites;
use crate::spool_options::SpoolOptions;
use crate::store::SpoolStore;
use crate::write_latency::WriteLatency;

/// State shared by every handle and thread of the spool.
pub(super) struct Shared {
    pub store: SpoolStore,
    pub disk: Disk,
    pub write_latency: WriteLatency,
    pub buffer_budget: Arc<BufferBudget>,
    pub events: Events,
    /// Notified when a message may have become due.
    pub changed: Notify,
    /// Notified when messages were set aside.
    pub set_aside: Notify,
    pub janitor: Sender<CleanupTask>,
    /// Number of messages that are being received or put.
    pub active_drafts: Arc<AtomicUsize>,
    /// Set when every left-over of the last run is in the index.
    pub recovered: SetOnce<()>,
    /// True once the spool is closing: recovery stops.
    pub closing: AtomicBool,
    index: Mutex<Index>,
    reserved_ids: Mutex<HashSet<MessageId>>,
    recent_writes: Mutex<RecentWrites>,
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
            write_latency: WriteLatency::new(options.wait, events.clone()),
            buffer_budget: BufferBudget::new(options.memory),
            events,
            changed: Notify::new(),
            set_aside: Notify::new(),
            janitor,
            active_drafts: Arc::default(),
            recovered: SetOnce::new(),
            closing: AtomicBool::new(false),
            index: Mutex::default(),
            reserved_ids: Mutex::default(),
            recent_writes: Mutex::default(),
        }
    }

    /// Locks the index. Callers hold the lock briefly, never across disk I/O.
    pub fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }

    /// Locks the recent writes. Callers hold the lock briefly, never together with the index.
    pub fn recent_writes(&self) -> MutexGuard<'_, RecentWrites> {
        self.recent_writes.lock()
    }

    /// Reserves a known id for an action; `None` while another holds it.
    pub fn reserve_known(self: &Arc<Self>, id: MessageId) -> Option<ReservedId> {
        if !self.reserved_ids.lock().insert(id) {
            return None;
        }
        self.active_drafts.fetch_add(1, Ordering::Relaxed);
        let shared = self.clone();
        Some(ReservedId { shared, id })
    }

    /// Reserves an id that no message and no draft has.
    pub fn reserve(self: &Arc<Self>) -> ReservedId {
        loop {
            let id = MessageId::generate();
            // A store that cannot be read fails at the write, which reports the error.
            if !self.store.has_record(id).unwrap_or(false) && self.reserved_ids.lock().insert(id) {
                self.active_drafts.fetch_add(1, Ordering::Relaxed);
                return ReservedId {
                    shared: self.clone(),
                    id,
                };
            }
        }
    }
}

/// A reservation of an id for a draft, or for an action on a message that is not in the index. Once dropped, the id is the committed message's, or free again.
pub(super) struct ReservedId {
    shared: Arc<Shared>,
    pub id: MessageId,
}

impl Drop for ReservedId {
    fn drop(&mut self) {
        self.shared.reserved_ids.lock().remove(&self.id);
        self.shared.active_drafts.fetch_sub(1, Ordering::Relaxed);
    }
}
