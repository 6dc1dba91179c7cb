//! How much memory all messages that are being received take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every message has so many bytes of its own, whatever the others take: most are no longer, and
/// need no file even while slow clients hold all there is to share.
pub(super) const OWN: usize = 16 * 1024;

/// What there is to share.
#[derive(Debug)]
pub(super) struct Memory {
    left: AtomicU64,
}

/// One message's share; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Share {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Memory {
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU64::new(bytes),
        })
    }

    /// Nothing yet.
    pub fn share(self: &Arc<Self>) -> Share {
        Share {
            memory: Arc::clone(self),
            bytes: 0,
        }
    }
}

impl Share {
    /// Makes the share enough for a buffer of so many bytes; false, and as it was, if it cannot be.
    pub fn suffice(&mut self, capacity: usize) -> bool {
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

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_so_much_to_share_and_it_comes_back() {
        let memory = Memory::new(100);
        let (mut one, mut other) = (memory.share(), memory.share());
        assert!(one.suffice(OWN) && other.suffice(OWN), "one's own is not shared");
        assert!(one.suffice(OWN + 60));
        assert!(one.suffice(OWN + 50), "it has that");
        assert!(!other.suffice(OWN + 41));
        assert!(other.suffice(OWN + 40));
        drop(one);
        assert!(other.suffice(OWN + 100));
    }
}
