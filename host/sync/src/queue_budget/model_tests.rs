//! Model tests: `loom` runs each for every relevant interleaving of the threads.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize as Tally;

use loom::thread;

use super::*;

/// Reservations that are held, counted apart from the budget: an item is counted after the reservation and until just
/// before the release.
#[derive(Default)]
struct Held {
    items: Tally,
    bytes: Tally,
}

impl Held {
    fn add(&self, bytes: usize, budget: &QueueBudget) {
        let items = self.items.fetch_add(1, Ordering::SeqCst) + 1;
        let bytes = self.bytes.fetch_add(bytes, Ordering::SeqCst) + bytes;
        assert!(
            items <= budget.max_items && bytes <= budget.max_bytes,
            "{items} items, {bytes} bytes"
        );
    }

    fn remove(&self, bytes: usize) {
        self.items.fetch_sub(1, Ordering::SeqCst);
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
    }
}

/// Offers items of the given sizes from a thread each, and releases what is accepted. Returns the refused number.
fn offer(budget: &Arc<QueueBudget>, sizes: &'static [&'static [usize]]) -> usize {
    let held = Arc::new(Held::default());
    let threads = sizes.iter().map(|sizes| {
        let (budget, held) = (budget.clone(), held.clone());
        thread::spawn(move || {
            let is_refused = |bytes: &&usize| {
                let accepted = budget.try_reserve(**bytes);
                if accepted {
                    held.add(**bytes, &budget);
                    thread::yield_now();
                    held.remove(**bytes);
                    budget.release(**bytes);
                }
                !accepted
            };
            sizes.iter().filter(is_refused).count()
        })
    });
    let threads: Vec<_> = threads.collect();
    threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
}

fn assert_empty(budget: &QueueBudget) {
    assert_eq!(budget.items.load(Ordering::SeqCst), 0);
    assert_eq!(budget.bytes.load(Ordering::SeqCst), 0);
}

#[test]
fn concurrent_reservations_never_exceed_the_number_of_items() {
    loom::model(|| {
        let budget = Arc::new(QueueBudget::new(1, 100));
        offer(&budget, &[&[1, 1], &[1]]);
        assert_empty(&budget);
    });
}

#[test]
fn concurrent_reservations_never_exceed_the_bytes() {
    loom::model(|| {
        let budget = Arc::new(QueueBudget::new(9, 10));
        offer(&budget, &[&[6], &[6, 4]]);
        assert_empty(&budget);
    });
}

#[test]
fn refusal_of_an_oversized_item_admits_nothing_beyond_the_bounds() {
    loom::model(|| {
        let budget = Arc::new(QueueBudget::new(2, 10));
        let refused = offer(&budget, &[&[usize::MAX], &[10, 1]]);
        assert_eq!(refused, 1, "the other items come one after the other and fit");
        assert_empty(&budget);
    });
}
