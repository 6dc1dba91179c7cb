//! Limits of an instance: memory, tables and guest CPU.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::engine_config::TICK;

/// Maximum number of elements of all tables of an instance.
const TABLE_ELEMENTS: usize = 200_000;
/// Maximum number of core instances, of tables and of memories in a store.
const MAX_PARTS: usize = 64;

/// A growth of memory that was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Denied {
    /// Bytes the instance would have had.
    pub(super) requested: usize,
    /// Bytes the instance may have.
    pub(super) limit: usize,
}

/// Limit of the sum of an instance's linear memories; some guests have three. The last denied growth is kept, since the
/// guest reports out-of-memory as an ordinary panic.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    limit: usize,
    used: usize,
    elements: usize,
    denied: Option<Denied>,
}

impl MemoryLimit {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: 0,
            elements: 0,
            denied: None,
        }
    }

    /// Bytes the instance has. Memories never shrink, so this is also the peak.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Forgets the denied growth, which explains no fault of a later use.
    pub(super) fn forget_denied(&mut self) {
        self.denied = None;
    }

    /// Returns the last denied growth.
    pub(super) fn denied(&self) -> Option<Denied> {
        self.denied
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let requested = self.used.saturating_sub(current).saturating_add(desired);
        if requested > self.limit {
            self.denied = Some(Denied {
                requested,
                limit: self.limit,
            });
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.used = requested;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let requested = self.elements.saturating_sub(current).saturating_add(desired);
        if requested > TABLE_ELEMENTS || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.elements = requested;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_PARTS
    }

    fn tables(&self) -> usize {
        MAX_PARTS
    }

    fn memories(&self) -> usize {
        MAX_PARTS
    }
}

/// Limit of guest CPU in one call, counted in ticks of epoch interruption that found the guest running. Time in which a
/// guest waits for the host or for a worker thread is not counted.
#[derive(Debug)]
pub(super) struct CpuLimit {
    allowed: u64,
    used: u64,
}

impl CpuLimit {
    pub(super) fn new(limit: Duration) -> Self {
        let ticks = limit.as_millis().div_ceil(TICK.as_millis());
        Self {
            allowed: u64::try_from(ticks).unwrap_or(u64::MAX).max(1),
            used: 0,
        }
    }

    /// Starts a new call.
    pub(super) fn restart(&mut self) {
        self.used = 0;
    }

    /// Counts a tick; true if the guest may go on.
    pub(super) fn tick(&mut self) -> bool {
        self.used += 1;
        self.used <= self.allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_the_sum_of_all_memories() {
        let mut limit = MemoryLimit::new(100);
        assert!(limit.memory_growing(0, 60, None).expect("no error"));
        assert!(!limit.memory_growing(0, 60, None).expect("no error"));
        assert_eq!(
            limit.denied(),
            Some(Denied {
                requested: 120,
                limit: 100
            })
        );
        assert!(limit.memory_growing(60, 100, None).expect("no error"));
        assert!(!limit.memory_growing(0, 1, None).expect("no error"));
    }

    #[test]
    fn growth_beyond_a_memorys_own_maximum_is_not_recorded_as_denied() {
        let mut limit = MemoryLimit::new(100);
        assert!(!limit.memory_growing(0, 60, Some(50)).expect("no error"));
        assert_eq!(limit.denied(), None);
    }

    #[test]
    fn every_call_gets_at_least_one_tick_of_cpu() {
        let mut limit = CpuLimit::new(Duration::ZERO);
        assert!(limit.tick());
        assert!(!limit.tick());
        limit.restart();
        assert!(limit.tick());
    }
}
