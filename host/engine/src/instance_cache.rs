//! Instances between two questions, of modules that keep nothing from one to the next. Making one and giving it back
//! costs more than most questions do; and as few as there are processors at work serve any number of sessions, so that what
//! they touch stays in the processors' caches.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::generation::Generation;
use super::instance::Instance;

/// Bytes of linear memory that all idle instances may have together.
const ROOM: usize = 128 << 20;
/// What each of them counts for at least; so this also bounds their number.
const LEAST: usize = 4 << 20;
const MOST: u32 = (ROOM / LEAST) as u32;
/// The unit of [`MemoryBudget`].
const KIB: usize = 1024;
/// What is taken so often has served: a policy that does pile something up begins anew.
const MAX_REUSES: u32 = 1000;

/// How many can be idle at once where so many are in use at once. They stand in the engine's pool beside those.
pub(super) fn most(capacity: u32) -> u32 {
    MOST.min(capacity)
}

/// Room for idle instances, of all modules together.
pub(super) struct MemoryBudget(Arc<Semaphore>);

impl MemoryBudget {
    /// For [`most`] of them.
    pub(super) fn new(capacity: u32) -> Self {
        Self(Arc::new(Semaphore::new(most(capacity) as usize * (LEAST / KIB))))
    }

    fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.max(LEAST).div_ceil(KIB)).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(kib).ok()
    }
}

/// The idle instances of one chain; none once it is one of the past, though work goes on with it.
pub struct InstanceCache(Mutex<Option<Vec<CachedInstance>>>);

/// Dropped in this order.
struct CachedInstance {
    instance: Instance,
    generation: Arc<Generation>,
    _room: OwnedSemaphorePermit,
}

impl InstanceCache {
    /// The one that was in use last: what it needs is most likely still in the processor's caches.
    pub fn take(&self, generation: &Arc<Generation>) -> Option<Instance> {
        let mut kept = self.kept();
        let kept = kept.as_mut()?;
        let is_of_it = |kept: &CachedInstance| Arc::ptr_eq(&kept.generation, generation);
        Some(kept.remove(kept.iter().rposition(is_of_it)?).instance)
    }

    /// Keeps an instance whose last answer was no fault, if it may serve on and there is room; else it is given back.
    pub(super) fn keep(
        &self,
        room: &MemoryBudget,
        generation: &Arc<Generation>,
        mut instance: Instance,
    ) -> Option<Instance> {
        if !instance.is_reusable(MAX_REUSES) {
            return Some(instance);
        }
        let Some(room) = room.take(instance.memory()) else {
            return Some(instance);
        };
        let mut kept = self.kept();
        let Some(kept) = kept.as_mut() else {
            return Some(instance);
        };
        kept.push(CachedInstance {
            instance,
            generation: Arc::clone(generation),
            _room: room,
        });
        None
    }

    /// Another chain needs the room.
    pub fn close(&self) {
        let ended = self.kept().take();
        // Without the lock.
        drop(ended);
    }

    /// Nothing that holds the lock can panic half-way.
    fn kept(&self) -> MutexGuard<'_, Option<Vec<CachedInstance>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for InstanceCache {
    fn default() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }
}

/// A chain that is made of another has none of its instances: some may be of generations it does not have.
impl Clone for InstanceCache {
    fn clone(&self) -> Self {
        Self::default()
    }
}
