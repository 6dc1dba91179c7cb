//! A budget that bounds the number and the bytes of a queue's items. Reserving never waits: an item that does not fit is
//! refused.

use crate::primitives::{AtomicUsize, Ordering};

#[cfg(all(test, loom))]
mod model_tests;

/// Room of a queue. The room of an item is reserved before the item enters the queue, and released after the item has
/// left.
pub struct QueueBudget {
    max_items: usize,
    max_bytes: usize,
    /// Reserved items: at most `max_items`.
    items: AtomicUsize,
    /// Reserved bytes: at most `max_bytes`.
    bytes: AtomicUsize,
}

impl QueueBudget {
    /// Creates a budget of which nothing is reserved.
    pub fn new(max_items: usize, max_bytes: usize) -> Self {
        Self {
            max_items,
            max_bytes,
            items: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Reserves room for an item of `bytes`. Returns false, with nothing reserved, if the item does not fit. May refuse
    /// an item that would just fit while a concurrent call refuses another.
    #[must_use]
    pub fn try_reserve(&self, bytes: usize) -> bool {
        if !reserve(&self.items, 1, self.max_items) {
            return false;
        }
        let fits = reserve(&self.bytes, bytes, self.max_bytes);
        if !fits {
            self.items.fetch_sub(1, Ordering::Relaxed);
        }
        fits
    }

    /// Releases the room of an item of `bytes`.
    pub fn release(&self, bytes: usize) {
        self.items.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// True if no further item fits.
    pub fn is_full(&self) -> bool {
        self.items.load(Ordering::Relaxed) >= self.max_items || self.bytes.load(Ordering::Relaxed) >= self.max_bytes
    }
}

/// Adds `amount` to `reserved` unless the sum exceeded `max`.
fn reserve(reserved: &AtomicUsize, amount: usize, max: usize) -> bool {
    let add = |reserved: usize| reserved.checked_add(amount).filter(|sum| *sum <= max);
    reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_exceeds_either_bound() {
        let budget = QueueBudget::new(2, 10);
        assert!(budget.try_reserve(4));
        assert!(!budget.try_reserve(7), "too many bytes");
        assert!(!budget.try_reserve(usize::MAX), "the sum overflows");
        assert!(budget.try_reserve(5));
        assert!(!budget.try_reserve(0), "too many items");
        budget.release(4);
        assert!(budget.try_reserve(5));
    }

    #[test]
    fn is_full_at_either_bound() {
        let budget = QueueBudget::new(2, 10);
        assert!(!budget.is_full());
        assert!(budget.try_reserve(10));
        assert!(budget.is_full());
        budget.release(10);
        assert!(!budget.is_full());
        assert!(budget.try_reserve(1) && budget.try_reserve(1));
        assert!(budget.is_full());
    }
}
