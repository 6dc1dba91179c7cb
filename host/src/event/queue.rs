//! Events on their way to the thread that writes them. Adding one takes a lock for a moment and wakes
//! nobody but the first time: what follows soon after is written with it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use super::{Event, Severity};
use crate::mail::Timestamp;

/// Beyond so many waiting events those of severity info are dropped and counted.
const INFO_BACKLOG: usize = 64 * 1024;
/// Beyond so many warnings are dropped and counted, too. Errors never are.
const WARNING_BACKLOG: usize = 2 * INFO_BACKLOG;
/// So long an event waits for company. An error does not wait, nor does what came before it.
const GATHER: Duration = Duration::from_millis(5);

/// What waits to be written.
#[derive(Default)]
pub(super) struct Waiting {
    /// In the order in which they were emitted.
    pub(super) events: Vec<(Timestamp, Event)>,
    /// So many were not taken since the last look.
    pub(super) dropped: u64,
    /// Answered when all of the above is written.
    pub(super) flushed: Vec<mpsc::SyncSender<()>>,
    /// Something of it does not wait for company.
    urgent: bool,
}

#[derive(Default)]
struct State {
    waiting: Waiting,
    reader: Reader,
    closed: bool,
}

/// What the reading thread does.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Something else; it will look before it sleeps.
    #[default]
    Busy,
    /// Sleeps until there is something.
    Idle,
    /// Sleeps for [`GATHER`] unless something is urgent.
    Gathering,
}

/// Many emit, one thread reads.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

impl Queue {
    /// Adds an event, or counts it if too many wait.
    pub(super) fn add(&self, event: Event) {
        let severity = event.entry().severity;
        let bound = match severity {
            Severity::Info => INFO_BACKLOG,
            Severity::Warning => WARNING_BACKLOG,
            Severity::Error => usize::MAX,
        };
        let mut state = self.lock();
        if state.waiting.events.len() >= bound {
            state.waiting.dropped += 1;
        } else {
            // Under the lock, so that times are in order.
            state.waiting.events.push((Timestamp::now(), event));
            self.wake(state, severity == Severity::Error);
        }
    }

    /// `done` is answered when everything before it is written.
    pub(super) fn flush(&self, done: mpsc::SyncSender<()>) {
        let mut state = self.lock();
        state.waiting.flushed.push(done);
        self.wake(state, true);
    }

    /// Nothing is added any more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.wake(state, true);
    }

    /// Waits for something, and then for what comes with it; none when the queue is closed and empty.
    pub(super) fn next(&self) -> Option<Waiting> {
        let mut state = self.lock();
        while !state.closed && state.waiting.is_empty() {
            state.reader = Reader::Idle;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.waiting.urgent && !state.closed {
            state.reader = Reader::Gathering;
            let gathered = self
                .arrived
                .wait_timeout_while(state, GATHER, |state| !state.waiting.urgent);
            state = gathered.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.reader = Reader::Busy;
        let waiting = std::mem::take(&mut state.waiting);
        (!waiting.is_empty()).then_some(waiting)
    }

    /// Only if the reader sleeps, and for no longer than it takes to say so.
    fn wake(&self, mut state: MutexGuard<'_, State>, urgent: bool) {
        state.waiting.urgent |= urgent;
        let wake = match state.reader {
            Reader::Busy => false,
            Reader::Idle => true,
            Reader::Gathering => urgent,
        };
        if wake {
            state.reader = Reader::Busy;
        }
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
    }

    /// Nothing that holds the lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.flushed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> Event {
        Event::Reloaded { what: Vec::new() }
    }

    fn error() -> Event {
        Event::DirectoryProblem { error: String::new() }
    }

    fn ids(waiting: Option<Waiting>) -> Vec<u32> {
        let events = waiting.map(|waiting| waiting.events).unwrap_or_default();
        events.iter().map(|(_, event)| event.entry().id).collect()
    }

    #[test]
    fn what_waits_comes_out_in_order_and_once() {
        let queue = Queue::default();
        queue.add(info());
        queue.add(error());
        queue.add(info());
        assert_eq!(ids(queue.next()), [5011, 5020, 5011]);
        queue.add(info());
        queue.close();
        assert_eq!(ids(queue.next()), [5011]);
        assert!(queue.next().is_none());
    }

    #[test]
    fn a_sleeping_reader_is_woken_by_each_kind_of_work() {
        let queue = std::sync::Arc::new(Queue::default());
        let reader = {
            let queue = queue.clone();
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                while let Some(waiting) = queue.next() {
                    for done in &waiting.flushed {
                        let _ = done.send(());
                    }
                    seen.extend(ids(Some(waiting)));
                }
                seen
            })
        };
        let flush = || {
            let (done, wait) = mpsc::sync_channel(1);
            queue.flush(done);
            wait.recv().expect("flushed");
        };
        for _ in 0..100 {
            queue.add(info());
            flush();
            flush();
            queue.add(error());
        }
        queue.close();
        assert_eq!(reader.join().expect("ends"), [5011, 5020].repeat(100));
    }

    #[test]
    fn a_flood_costs_the_least_severe_first_and_errors_never() {
        let queue = Queue::default();
        for _ in 0..=INFO_BACKLOG {
            queue.add(info());
        }
        queue.add(error());
        queue.add(Event::EventsDropped { count: 0 });
        let waiting = queue.next().expect("something");
        assert_eq!(waiting.dropped, 1);
        assert_eq!(waiting.events.len(), INFO_BACKLOG + 2);
    }
}
