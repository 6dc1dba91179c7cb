//! A LIFO cache of instances of stateless modules. Making and dropping an instance costs more than most questions do.
//! Reusing the most recent instance lets as many instances as there are busy processors serve any number of sessions,
//! so that their memory stays in the processors' caches.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use super::generation::Generation;
use super::instance::Instance;
use crate::memory_budget::MemoryBudget;
use crate::runtime::Runtime;

/// Uses after which an instance is dropped, so that a policy which accumulates memory starts afresh.
const MAX_REUSES: u32 = 1000;

/// Idle instances of a chain. A closed cache keeps no instance, though sessions may go on with the replaced chain.
pub struct InstanceCache(Mutex<Option<Vec<CachedInstance>>>);

/// An idle instance; fields are dropped in this order.
struct CachedInstance {
    instance: Instance,
    generation: Arc<Generation>,
    _memory: OwnedSemaphorePermit,
}

impl InstanceCache {
    /// Takes the most recently used instance of `generation`, whose memory is most likely still in the processor's
    /// caches.
    pub fn take(&self, generation: &Arc<Generation>) -> Option<Instance> {
        let mut cached = self.0.lock();
        let cached = cached.as_mut()?;
        let is_of_generation = |cached: &CachedInstance| Arc::ptr_eq(&cached.generation, generation);
        Some(cached.remove(cached.iter().rposition(is_of_generation)?).instance)
    }

    /// Keeps an instance whose last call was no fault. Returns an instance that is not reusable, and every
    /// instance if `budget` is exhausted or the cache is closed.
    fn keep(&self, budget: &MemoryBudget, generation: &Arc<Generation>, mut instance: Instance) -> Option<Instance> {
        if !instance.is_reusable(MAX_REUSES) {
            return Some(instance);
        }
        let Some(memory) = budget.reserve(instance.memory()) else {
            return Some(instance);
        };
        let mut cached = self.0.lock();
        let Some(cached) = cached.as_mut() else {
            return Some(instance);
        };
        cached.push(CachedInstance {
            instance,
            generation: Arc::clone(generation),
            _memory: memory,
        });
        None
    }

    /// Drops all instances and keeps none from now on: another chain needs the memory.
    pub fn close(&self) {
        let closed = self.0.lock().take();
        // Dropped without the lock.
        drop(closed);
    }
}

impl Default for InstanceCache {
    fn default() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }
}

/// A cloned chain begins with an empty cache: cached instances may be of generations that the clone does not have.
impl Clone for InstanceCache {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Runtime {
    /// Keeps an instance in `cache` for the next question, or returns an instance that cannot be kept. With a fuel
    /// meter every instance is returned, so that each question is measured on a fresh instance.
    pub fn keep(&self, cache: &InstanceCache, generation: &Arc<Generation>, instance: Instance) -> Option<Instance> {
        match self.meter() {
            Some(_) => Some(instance),
            None => cache.keep(self.memory_budget(), generation, instance),
        }
    }
}
