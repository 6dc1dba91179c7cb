//! How much memory all messages that are being received take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every message has so many bytes of its own, whatever the others take: most are no longer, and
/// need no file even while slow clients hold all there is to share.
pub(super) const OWN: usize = 16 * 1024;

/// What there is to share.
#[derive(Debug)]
pub(super) struct BufferBudget {
    left: AtomicU64,
}

/// One message's share; dropping it gives it back.
#[derive(Debug)]
pub(super) struct BufferShare {
    memory: Arc<BufferBudget>,
    bytes: u64,
}

impl BufferBudget {
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU64::new(bytes),
        })
    }

    /// Nothing yet.
    pub fn share(self: &Arc<Self>) -> BufferShare {
        BufferShare {
            memory: Arc::clone(self),
            bytes: 0,
        }
    }
}

impl BufferShare {
    /// Makes the share enough for a buffer of so many bytes; false, and as it was, if it cannot be.
    pub fn try_grow(&mut self, capacity: usize) -> bool {
        let more = (capacity.saturating_sub(OWN) as u64).saturating_sub(self.bytes);
        let take = |left: u64| left.checked_sub(more);
        let left = &self.memory.left;
        let taken = left.try_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if taken {
            self.bytes += more;
        }
        taken
    }
}

impl Drop for BufferShare {
    fn drop(&mut self) {
        self.memory.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_so_much_to_share_and_it_comes_back() {
        let memory = BufferBudget::new(100);
        let (mut one, mut other) = (memory.share(), memory.share());
        assert!(one.try_grow(OWN) && other.try_grow(OWN), "one's own is not shared");
        assert!(one.try_grow(OWN + 60));
        assert!(one.try_grow(OWN + 50), "it has that");
        assert!(!other.try_grow(OWN + 41));
        assert!(other.try_grow(OWN + 40));
        drop(one);
        assert!(other.try_grow(OWN + 100));
    }
}
