//! The memory budget of idle instances, shared by all modules.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine_config::{MIN_IDLE_INSTANCE, max_idle};

/// Bytes of a permit.
const KIB: usize = 1024;

/// Linear memory that idle instances may hold, counted in KiB.
pub(super) struct MemoryBudget(Arc<Semaphore>);

impl MemoryBudget {
    /// Budget for [`max_idle`] instances of the smallest size.
    pub(super) fn new(capacity: u32) -> Self {
        let kib = max_idle(capacity) as usize * (MIN_IDLE_INSTANCE / KIB);
        Self(Arc::new(Semaphore::new(kib)))
    }

    /// Reserves memory for an idle instance until the permit is dropped; `None` if the budget is exhausted.
    pub(super) fn reserve(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.max(MIN_IDLE_INSTANCE).div_ceil(KIB)).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(kib).ok()
    }
}
