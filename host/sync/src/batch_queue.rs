//! A batch queue for group commit: many writers, one reading thread. The reader is woken once and may then linger for
//! more items, since waking a thread for each item would cost more than most items do.

use std::sync::Arc;
use std::time::Duration;

use crate::primitives::{Condvar, Mutex, MutexGuard};

#[cfg(all(test, loom))]
mod model_tests;

/// The writers' end of the queue.
pub struct BatchQueue<T> {
    state: Mutex<QueueState<T>>,
    /// Wakes the reader.
    wakeup: Condvar,
}

struct QueueState<T> {
    items: Vec<T>,
    /// Number of `items` with low priority.
    low_priority_len: usize,
    reader: ReaderState,
    /// True if the reader must not linger for the next batch.
    is_urgent: bool,
    is_closed: bool,
}

/// Activity of the reading thread, which decides when a writer must wake it.
enum ReaderState {
    /// Processing a batch, or awake already; the reader looks at the queue before sleeping.
    Busy,
    /// Asleep until there is an item.
    Idle,
    /// Asleep until a batch is full, an item is urgent or the linger time has passed.
    Lingering {
        /// Number of normal items that fill a batch.
        max_batch: usize,
        /// Number of low-priority items that fill a batch.
        max_low_priority: usize,
    },
}

impl<T> QueueState<T> {
    /// Returns the number of items with normal priority.
    fn normal_len(&self) -> usize {
        self.items.len() - self.low_priority_len
    }

    /// True if the reader must not linger.
    fn must_flush(&self) -> bool {
        self.is_urgent || self.is_closed
    }
}

impl<T> Default for BatchQueue<T> {
    fn default() -> Self {
        let state = QueueState {
            items: Vec::new(),
            low_priority_len: 0,
            reader: ReaderState::Busy,
            is_urgent: false,
            is_closed: false,
        };
        Self {
            state: Mutex::new(state),
            wakeup: Condvar::new(),
        }
    }
}

impl<T> BatchQueue<T> {
    /// Adds the item that `make` returns. Returns false, without a call of `make`, if the queue is closed or has
    /// `max_len` items already. An `urgent` item ends the reader's linger time. `make` runs under the queue's lock,
    /// hence in the order of the queue, and must be quick.
    pub fn push(&self, urgent: bool, max_len: usize, make: impl FnOnce() -> T) -> bool {
        let mut state = self.state.lock();
        if state.is_closed || state.items.len() >= max_len {
            return false;
        }
        state.items.push(make());
        self.wake_reader(state, urgent);
        true
    }

    /// Adds a low-priority item, as [`Self::push`] does, without a bound: the item may wait to share a batch with
    /// others, see [`BatchReader::take_with_low_priority`]. Returns false if the queue is closed.
    pub fn push_low_priority(&self, make: impl FnOnce() -> T) -> bool {
        let mut state = self.state.lock();
        if state.is_closed {
            return false;
        }
        state.items.push(make());
        state.low_priority_len += 1;
        self.wake_reader(state, false);
        true
    }

    /// Closes the queue to further items. The reader still gets the remaining items.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        self.wake_reader(state, true);
    }

    /// Returns the reading end. Only a single reader may exist.
    pub fn reader(self: &Arc<Self>) -> BatchReader<T> {
        BatchReader(self.clone())
    }

    /// Wakes the reader if it sleeps and its batch is full or must be flushed.
    fn wake_reader(&self, mut state: MutexGuard<'_, QueueState<T>>, urgent: bool) {
        state.is_urgent |= urgent;
        let wake = match state.reader {
            ReaderState::Busy => false,
            ReaderState::Idle => true,
            ReaderState::Lingering {
                max_batch,
                max_low_priority,
            } => state.is_urgent || state.normal_len() >= max_batch || state.low_priority_len >= max_low_priority,
        };
        if wake {
            // Later writers need not wake the reader again.
            state.reader = ReaderState::Busy;
        }
        drop(state);
        if wake {
            self.wakeup.notify_one();
        }
    }
}

/// The reading end of a [`BatchQueue`]. Dropping the reader closes the queue and drops its items.
pub struct BatchReader<T>(Arc<BatchQueue<T>>);

impl<T> BatchReader<T> {
    /// Waits for the next batch and moves all items of the queue into `batch`, which must be empty: the queue reuses
    /// its allocation. Returns false if the queue is closed and empty.
    ///
    /// Once there is an item, `limits` is called for the group commit: a pair of `max_batch`, the number of items
    /// that ends the wait, and `linger`, the longest wait. Neither bounds the number of items taken. Blocks the thread.
    pub fn take(&mut self, batch: &mut Vec<T>, limits: impl FnOnce() -> (usize, Duration)) -> bool {
        self.take_with_low_priority(batch, (0, Duration::ZERO), limits)
    }

    /// Waits for the next batch, as [`Self::take`] does, from a queue with low-priority items. While the queue has no
    /// other items, the reader first lingers until there are `max_low_priority` or until `low_priority_linger` has
    /// passed. `limits` applies to items of normal priority and is called only if there are any.
    pub fn take_with_low_priority(
        &mut self,
        batch: &mut Vec<T>,
        (max_low_priority, low_priority_linger): (usize, Duration),
        limits: impl FnOnce() -> (usize, Duration),
    ) -> bool {
        let queue = &*self.0;
        let mut state = queue.state.lock();
        while state.items.is_empty() {
            if state.is_closed {
                return false;
            }
            state.reader = ReaderState::Idle;
            queue.wakeup.wait(&mut state);
        }
        let low_priority_may_linger = |state: &mut QueueState<T>| {
            !state.must_flush() && state.normal_len() == 0 && state.low_priority_len < max_low_priority
        };
        if low_priority_may_linger(&mut state) {
            state.reader = ReaderState::Lingering {
                max_batch: 1,
                max_low_priority,
            };
            queue
                .wakeup
                .wait_while_for(&mut state, low_priority_may_linger, low_priority_linger);
        }
        if state.normal_len() > 0 {
            let (max_batch, linger) = limits();
            let may_linger = |state: &mut QueueState<T>| !state.must_flush() && state.normal_len() < max_batch;
            if may_linger(&mut state) {
                let max_low_priority = usize::MAX;
                state.reader = ReaderState::Lingering {
                    max_batch,
                    max_low_priority,
                };
                queue.wakeup.wait_while_for(&mut state, may_linger, linger);
            }
        }
        state.reader = ReaderState::Busy;
        state.is_urgent = false;
        state.low_priority_len = 0;
        std::mem::swap(&mut state.items, batch);
        true
    }
}

impl<T> Drop for BatchReader<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_closed = true;
        let items = std::mem::take(&mut state.items);
        state.low_priority_len = 0;
        drop(state);
        drop(items);
    }
}

#[cfg(all(test, not(loom)))]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::mpsc;
    use std::thread::JoinHandle;

    use super::*;

    /// Longer than any test takes.
    const FOREVER: Duration = Duration::from_secs(600);

    fn take(reader: &mut BatchReader<u32>) -> Option<Vec<u32>> {
        let mut batch = Vec::new();
        reader.take(&mut batch, || (1, FOREVER)).then_some(batch)
    }

    /// Starts a thread that reads until the queue ends; the receiver gets each batch.
    fn start_reader(
        queue: &Arc<BatchQueue<u32>>,
        mut take: impl FnMut(&mut BatchReader<u32>, &mut Vec<u32>) -> bool + Send + 'static,
    ) -> (JoinHandle<()>, mpsc::Receiver<Vec<u32>>) {
        let (sender, batches) = mpsc::channel();
        let mut reader = queue.reader();
        let thread = std::thread::spawn(move || {
            let mut batch = Vec::new();
            while take(&mut reader, &mut batch) {
                sender.send(std::mem::take(&mut batch)).expect("the receiver exists");
            }
        });
        (thread, batches)
    }

    #[test]
    fn returns_each_item_once_and_in_order() {
        let queue = Arc::new(BatchQueue::default());
        let mut reader = queue.reader();
        for number in 0..3 {
            assert!(queue.push(false, 3, || number));
        }
        assert!(!queue.push(false, 3, || 3), "the queue is full");
        assert_eq!(take(&mut reader), Some(vec![0, 1, 2]));
        queue.push(false, 3, || 4);
        queue.close();
        assert!(!queue.push(true, 3, || 5), "the queue is closed");
        assert_eq!(take(&mut reader), Some(vec![4]));
        assert_eq!(take(&mut reader), None);
    }

    #[test]
    fn lingers_until_the_batch_is_full_or_an_item_is_urgent() {
        let queue = Arc::new(BatchQueue::default());
        let (reader, batches) = start_reader(&queue, |reader, batch| reader.take(batch, || (3, FOREVER)));
        for round in 0..100 {
            for number in 0..3 {
                queue.push(false, 9, || round + number);
            }
            assert_eq!(batches.recv(), Ok(vec![round, round + 1, round + 2]));
            queue.push(false, 9, || round);
            queue.push(true, 9, || round);
            assert_eq!(batches.recv(), Ok(vec![round, round]));
        }
        queue.push(false, 9, || 7);
        queue.close();
        assert_eq!(batches.recv(), Ok(vec![7]));
        reader.join().expect("ends");
    }

    #[test]
    fn takes_a_partial_batch_after_the_linger_time() {
        let queue = Arc::new(BatchQueue::default());
        queue.push(false, 9, || 1);
        let mut batch = Vec::new();
        assert!(queue.reader().take(&mut batch, || (2, Duration::from_millis(1))));
        assert_eq!(batch, [1]);
    }

    #[test]
    fn low_priority_items_wait_for_a_full_batch_or_for_normal_items() {
        let queue = Arc::new(BatchQueue::default());
        let (reader, batches) = start_reader(&queue, |reader, batch| {
            reader.take_with_low_priority(batch, (3, FOREVER), || (2, FOREVER))
        });
        for round in 0..100 {
            for number in 0..3 {
                queue.push_low_priority(|| round + number);
            }
            assert_eq!(batches.recv(), Ok(vec![round, round + 1, round + 2]));
            queue.push_low_priority(|| round);
            queue.push(false, 9, || round);
            queue.push(false, 9, || round);
            assert_eq!(
                batches.recv(),
                Ok(vec![round; 3]),
                "low-priority items do not count towards max_batch"
            );
        }
        queue.push_low_priority(|| 7);
        queue.close();
        assert!(!queue.push_low_priority(|| 8), "the queue is closed");
        assert_eq!(batches.recv(), Ok(vec![7]));
        reader.join().expect("ends");
    }

    #[test]
    fn takes_low_priority_items_after_their_linger_time() {
        let queue = Arc::new(BatchQueue::default());
        queue.push_low_priority(|| 1);
        let mut batch = Vec::new();
        let limits = || -> (usize, Duration) { unreachable!("there are no normal items") };
        let low_priority_limits = (2, Duration::from_millis(1));
        assert!(
            queue
                .reader()
                .take_with_low_priority(&mut batch, low_priority_limits, limits)
        );
        assert_eq!(batch, [1]);
    }

    #[test]
    fn drops_items_and_closes_once_the_reader_is_dropped() {
        let queue = Arc::new(BatchQueue::default());
        let item = Arc::new(());
        let reader = queue.reader();
        assert!(queue.push(false, 9, || item.clone()));
        drop(reader);
        assert!(!queue.push(false, 9, || item.clone()));
        assert_eq!(Arc::strong_count(&item), 1);
    }
}
