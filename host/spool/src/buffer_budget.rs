//! A memory budget for the buffers of all drafts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that each draft may buffer outside the budget. Most messages are no longer, and need no file even while slow
/// clients hold the whole budget.
pub(super) const BASE_BUFFER: usize = 16 * 1024;

/// The bytes of buffer that all drafts share.
#[derive(Debug)]
pub(super) struct BufferBudget {
    available: AtomicU64,
}

/// The bytes that a draft has taken from the budget. Dropping returns the bytes.
#[derive(Debug)]
pub(super) struct BufferShare {
    budget: Arc<BufferBudget>,
    bytes: u64,
}

impl BufferBudget {
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            available: AtomicU64::new(bytes),
        })
    }

    /// Creates an empty share.
    pub fn share(self: &Arc<Self>) -> BufferShare {
        BufferShare {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }
}

impl BufferShare {
    /// Grows the share to suffice for a buffer of `capacity` bytes. False if the budget is too small; the share is
    /// unchanged then.
    pub fn try_grow(&mut self, capacity: usize) -> bool {
        let more = (capacity.saturating_sub(BASE_BUFFER) as u64).saturating_sub(self.bytes);
        let take = |available: u64| available.checked_sub(more);
        let available = &self.budget.available;
        let taken = available.try_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if taken {
            self.bytes += more;
        }
        taken
    }
}

impl Drop for BufferShare {
    fn drop(&mut self) {
        self.budget.available.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_bounded_by_the_budget_and_returned_when_dropped() {
        let budget = BufferBudget::new(100);
        let (mut first, mut second) = (budget.share(), budget.share());
        assert!(
            first.try_grow(BASE_BUFFER) && second.try_grow(BASE_BUFFER),
            "the base buffer is outside the budget"
        );
        assert!(first.try_grow(BASE_BUFFER + 60));
        assert!(first.try_grow(BASE_BUFFER + 50), "the share is large enough already");
        assert!(!second.try_grow(BASE_BUFFER + 41));
        assert!(second.try_grow(BASE_BUFFER + 40));
        drop(first);
        assert!(second.try_grow(BASE_BUFFER + 100));
    }
}
