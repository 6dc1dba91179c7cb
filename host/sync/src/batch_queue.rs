//! A queue of many writers and one reading thread, for work that is cheaper by the dozen: the reader is
//! woken once and may then wait a moment for company. Waking a thread for each piece would cost more
//! than most pieces.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The writers' end.
pub struct BatchQueue<T> {
    state: Mutex<QueueState<T>>,
    arrived: Condvar,
}

struct QueueState<T> {
    items: Vec<T>,
    /// So many of them are patient.
    low_priority: usize,
    reader: ReaderState,
    /// The reader is not to wait for company.
    urgent: bool,
    closed: bool,
}

/// What the reading thread does.
enum ReaderState {
    /// Something else; it will look before it sleeps.
    Busy,
    /// Sleeps until there is something.
    Idle,
    /// Sleeps until there are enough, or something is urgent, or its time is up.
    Collecting {
        /// So many that are not patient.
        max_batch: usize,
        /// So many that are.
        max_low_priority: usize,
    },
}

impl<T> QueueState<T> {
    fn normal(&self) -> usize {
        self.items.len() - self.low_priority
    }

    /// Whether there is no reason to wait.
    fn is_urgent(&self) -> bool {
        self.urgent || self.closed
    }
}

impl<T> Default for BatchQueue<T> {
    fn default() -> Self {
        let state = QueueState {
            items: Vec::new(),
            low_priority: 0,
            reader: ReaderState::Busy,
            urgent: false,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            arrived: Condvar::new(),
        }
    }
}

impl<T> BatchQueue<T> {
    /// Adds what `make` makes, unless the queue is closed or so many wait already; false then. `make` is
    /// called in the order of the queue, for a moment only.
    pub fn push(&self, urgent: bool, at_most: usize, make: impl FnOnce() -> T) -> bool {
        let mut state = self.lock();
        if state.closed || state.items.len() >= at_most {
            return false;
        }
        state.items.push(make());
        self.wake(state, urgent);
        true
    }

    /// As [`Self::push`], of something that may wait for others to come; see [`BatchReader::take_low_priority`].
    pub fn push_low_priority(&self, make: impl FnOnce() -> T) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        state.items.push(make());
        state.low_priority += 1;
        self.wake(state, false);
        true
    }

    /// Nothing is added any more; the reader gets what is there, and then nothing.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.wake(state, true);
    }

    /// The reading end, of which there is one.
    pub fn reader(self: &Arc<Self>) -> BatchReader<T> {
        BatchReader(self.clone())
    }

    /// If the reader sleeps and has reason to wake.
    fn wake(&self, mut state: MutexGuard<'_, QueueState<T>>, urgent: bool) {
        state.urgent |= urgent;
        let wake = match state.reader {
            ReaderState::Busy => false,
            ReaderState::Idle => true,
            ReaderState::Collecting {
                max_batch,
                max_low_priority,
            } => state.urgent || state.normal() >= max_batch || state.low_priority >= max_low_priority,
        };
        if wake {
            // Once is enough.
            state.reader = ReaderState::Busy;
        }
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
    }

    /// Whatever panics with the lock held leaves the queue as it was.
    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reading end. Without it nothing is taken any more, and what waits is dropped.
pub struct BatchReader<T>(Arc<BatchQueue<T>>);

impl<T> BatchReader<T> {
    /// Waits for something, takes all there is by then and leaves it in `taken`, which must be empty:
    /// its room is used for what comes next. `company` says how many are worth waiting for, and for how
    /// long. False if the queue is closed and empty.
    pub fn take(&mut self, taken: &mut Vec<T>, company: impl FnOnce() -> (usize, Duration)) -> bool {
        self.take_low_priority(taken, (0, Duration::ZERO), company)
    }

    /// As [`Self::take`]. As long as there is nothing but what is patient it waits first: until there are
    /// so many, or for so long. `company` is for the others.
    pub fn take_low_priority(
        &mut self,
        taken: &mut Vec<T>,
        (max_low_priority, patience): (usize, Duration),
        company: impl FnOnce() -> (usize, Duration),
    ) -> bool {
        let queue = &*self.0;
        let mut state = queue.lock();
        while state.items.is_empty() {
            if state.closed {
                return false;
            }
            state.reader = ReaderState::Idle;
            state = queue.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let low_priority = |state: &mut QueueState<T>| {
            !state.is_urgent() && state.normal() == 0 && state.low_priority < max_low_priority
        };
        if low_priority(&mut state) {
            state.reader = ReaderState::Collecting {
                max_batch: 1,
                max_low_priority,
            };
            let waited = queue.arrived.wait_timeout_while(state, patience, low_priority);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.normal() > 0 {
            let (max_batch, time) = company();
            let alone = |state: &mut QueueState<T>| !state.is_urgent() && state.normal() < max_batch;
            if alone(&mut state) {
                let max_low_priority = usize::MAX;
                state.reader = ReaderState::Collecting {
                    max_batch,
                    max_low_priority,
                };
                let waited = queue.arrived.wait_timeout_while(state, time, alone);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        state.reader = ReaderState::Busy;
        state.urgent = false;
        state.low_priority = 0;
        std::mem::swap(&mut state.items, taken);
        true
    }
}

impl<T> Drop for BatchReader<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.items);
        state.low_priority = 0;
        drop(state);
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::JoinHandle;

    use super::*;

    /// Longer than any test takes.
    const FOREVER: Duration = Duration::from_secs(600);

    fn take(reader: &mut BatchReader<u32>) -> Option<Vec<u32>> {
        let mut taken = Vec::new();
        reader.take(&mut taken, || (1, FOREVER)).then_some(taken)
    }

    /// A thread that reads until the end, and what it takes each time.
    fn reading(
        queue: &Arc<BatchQueue<u32>>,
        mut take: impl FnMut(&mut BatchReader<u32>, &mut Vec<u32>) -> bool + Send + 'static,
    ) -> (JoinHandle<()>, mpsc::Receiver<Vec<u32>>) {
        let (sender, seen) = mpsc::channel();
        let mut reader = queue.reader();
        let thread = std::thread::spawn(move || {
            let mut taken = Vec::new();
            while take(&mut reader, &mut taken) {
                sender.send(std::mem::take(&mut taken)).expect("heard");
            }
        });
        (thread, seen)
    }

    #[test]
    fn what_waits_comes_out_in_order_and_once() {
        let queue = Arc::new(BatchQueue::default());
        let mut reader = queue.reader();
        for number in 0..3 {
            assert!(queue.push(false, 3, || number));
        }
        assert!(!queue.push(false, 3, || 3), "there is no room");
        assert_eq!(take(&mut reader), Some(vec![0, 1, 2]));
        queue.push(false, 3, || 4);
        queue.close();
        assert!(!queue.push(true, 3, || 5), "it is closed");
        assert_eq!(take(&mut reader), Some(vec![4]));
        assert_eq!(take(&mut reader), None);
    }

    #[test]
    fn a_reader_waits_for_company_until_there_is_enough_or_something_is_urgent() {
        let queue = Arc::new(BatchQueue::default());
        let (reader, seen) = reading(&queue, |reader, taken| reader.take(taken, || (3, FOREVER)));
        for round in 0..100 {
            for number in 0..3 {
                queue.push(false, 9, || round + number);
            }
            assert_eq!(seen.recv(), Ok(vec![round, round + 1, round + 2]));
            queue.push(false, 9, || round);
            queue.push(true, 9, || round);
            assert_eq!(seen.recv(), Ok(vec![round, round]));
        }
        queue.push(false, 9, || 7);
        queue.close();
        assert_eq!(seen.recv(), Ok(vec![7]));
        reader.join().expect("ends");
    }

    #[test]
    fn nobody_waits_longer_than_he_said() {
        let queue = Arc::new(BatchQueue::default());
        queue.push(false, 9, || 1);
        let mut taken = Vec::new();
        assert!(queue.reader().take(&mut taken, || (2, Duration::from_millis(1))));
        assert_eq!(taken, [1]);
    }

    #[test]
    fn what_is_patient_waits_for_a_crowd_or_for_others() {
        let queue = Arc::new(BatchQueue::default());
        let (reader, seen) = reading(&queue, |reader, taken| {
            reader.take_low_priority(taken, (3, FOREVER), || (2, FOREVER))
        });
        for round in 0..100 {
            for number in 0..3 {
                queue.push_low_priority(|| round + number);
            }
            assert_eq!(seen.recv(), Ok(vec![round, round + 1, round + 2]));
            queue.push_low_priority(|| round);
            queue.push(false, 9, || round);
            queue.push(false, 9, || round);
            assert_eq!(seen.recv(), Ok(vec![round; 3]), "who is patient does not count");
        }
        queue.push_low_priority(|| 7);
        queue.close();
        assert!(!queue.push_low_priority(|| 8), "it is closed");
        assert_eq!(seen.recv(), Ok(vec![7]));
        reader.join().expect("ends");
    }

    #[test]
    fn patience_ends() {
        let queue = Arc::new(BatchQueue::default());
        queue.push_low_priority(|| 1);
        let mut taken = Vec::new();
        let company = || -> (usize, Duration) { unreachable!("there is nobody else") };
        let patience = (2, Duration::from_millis(1));
        assert!(queue.reader().take_low_priority(&mut taken, patience, company));
        assert_eq!(taken, [1]);
    }

    #[test]
    fn without_a_reader_nothing_is_kept() {
        let queue = Arc::new(BatchQueue::default());
        let held = Arc::new(());
        let reader = queue.reader();
        assert!(queue.push(false, 9, || held.clone()));
        drop(reader);
        assert!(!queue.push(false, 9, || held.clone()));
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
