//! What one instance may take: memory over all its linear memories, tables, and guest CPU.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::runtime::TICK;

/// Elements of all tables of one instance.
const TABLE_ELEMENTS: usize = 200_000;
/// Core instances, tables and memories of one store.
const PARTS: usize = 64;

/// A growth that was not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Denied {
    /// Bytes the instance would have had.
    pub(super) wanted: usize,
    /// Bytes it may have.
    pub(super) limit: usize,
}

/// Counts memory over the whole instance: some guests have three linear memories, and a limit for
/// each would be three limits. A guest shows a denied growth as an ordinary panic, so it is kept.
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

    /// Bytes the instance has; memories never shrink, so this is also the most it had.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// What was denied to somebody else explains nothing from here on.
    pub(super) fn forget_denied(&mut self) {
        self.denied = None;
    }

    /// The last growth that was not granted.
    pub(super) fn denied(&self) -> Option<Denied> {
        self.denied
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.used.saturating_sub(current).saturating_add(desired);
        if wanted > self.limit {
            self.denied = Some(Denied {
                wanted,
                limit: self.limit,
            });
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.used = wanted;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.elements.saturating_sub(current).saturating_add(desired);
        if wanted > TABLE_ELEMENTS || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.elements = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        PARTS
    }

    fn tables(&self) -> usize {
        PARTS
    }

    fn memories(&self) -> usize {
        PARTS
    }
}

/// Guest CPU of one call, counted in ticks during which the guest was found running. Time a guest
/// waits for the host, or for its turn, is not counted.
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

    /// A new call begins.
    pub(super) fn restart(&mut self) {
        self.used = 0;
    }

    /// A tick passed; whether the guest may go on.
    pub(super) fn tick(&mut self) -> bool {
        self.used += 1;
        self.used <= self.allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_counted_together() {
        let mut limit = MemoryLimit::new(100);
        assert!(limit.memory_growing(0, 60, None).expect("no error"));
        assert!(!limit.memory_growing(0, 60, None).expect("no error"));
        assert_eq!(
            limit.denied(),
            Some(Denied {
                wanted: 120,
                limit: 100
            })
        );
        assert!(limit.memory_growing(60, 100, None).expect("no error"));
        assert!(!limit.memory_growing(0, 1, None).expect("no error"));
    }

    #[test]
    fn growth_beyond_a_memorys_own_maximum_is_not_the_limits_doing() {
        let mut limit = MemoryLimit::new(100);
        assert!(!limit.memory_growing(0, 60, Some(50)).expect("no error"));
        assert_eq!(limit.denied(), None);
    }

    #[test]
    fn cpu_is_counted_by_call_and_never_zero() {
        let mut limit = CpuLimit::new(Duration::ZERO);
        assert!(limit.tick());
        assert!(!limit.tick());
        limit.restart();
        assert!(limit.tick());
    }
}
