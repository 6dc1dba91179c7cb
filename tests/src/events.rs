//! Events of the daemon, read from standard output as a JSON object for each line.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use serde_json::Value;

use crate::wait::TIMEOUT;

/// An event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Id in the event catalogue.
    pub id: u64,
    /// Fields of the event.
    pub fields: Value,
}

impl Event {
    /// Returns a field as text: a string without quotes, any other value as JSON, an empty text for a missing field.
    pub fn text(&self, field: &str) -> String {
        match &self.fields[field] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

#[derive(Default)]
struct EventLog {
    lines: Vec<String>,
    /// Events, each with a flag that is set by [`Events::take`].
    events: Vec<(Event, bool)>,
    ended: bool,
}

/// A handle to all output of a daemon so far. Cheap to clone.
#[derive(Clone, Default)]
pub struct Events {
    shared: Arc<(Mutex<EventLog>, Condvar)>,
}

impl Events {
    /// Reads the daemon's standard output until the end, in a thread.
    pub(crate) fn follow_stdout(&self, stream: impl Read + Send + 'static) {
        let this = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                this.push(line);
            }
            this.with(|seen| seen.ended = true);
        });
    }

    /// Reads the daemon's standard error in a thread; the lines are shown in failure messages.
    pub(crate) fn follow_stderr(&self, stream: impl Read + Send + 'static) {
        let this = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                this.with(|seen| seen.lines.push(format!("stderr: {line}")));
            }
        });
    }

    fn push(&self, line: String) {
        let event = serde_json::from_str::<Value>(&line).ok().and_then(|value| {
            let id = value["id"].as_u64()?;
            let fields = value["fields"].clone();
            Some(Event { id, fields })
        });
        self.with(|seen| {
            seen.lines.push(line);
            seen.events.extend(event.map(|event| (event, false)));
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut EventLog) -> T) -> T {
        let (lock, changed) = &*self.shared;
        let result = act(&mut lock.lock());
        changed.notify_all();
        result
    }

    /// Waits for an event with the given id that was not taken yet, and takes the event.
    ///
    /// # Panics
    /// If no event arrives in time; the message contains all output.
    pub fn take(&self, id: u64) -> Event {
        self.take_where(id, |_| true)
    }

    /// Takes an event like [`Self::take`] that also satisfies a condition.
    ///
    /// # Panics
    /// If no event arrives in time; the message contains all output.
    pub fn take_where(&self, id: u64, is: impl Fn(&Event) -> bool) -> Event {
        let deadline = Instant::now() + TIMEOUT;
        let (lock, changed) = &*self.shared;
        let mut seen = lock.lock();
        loop {
            let wanted = seen
                .events
                .iter_mut()
                .find(|(event, taken)| !taken && event.id == id && is(event));
            if let Some((event, taken)) = wanted {
                *taken = true;
                return event.clone();
            }
            assert!(
                Instant::now() < deadline && !seen.ended,
                "no event {id} (as wanted) among:\n{}",
                seen.lines.join("\n")
            );
            changed.wait_until(&mut seen, deadline);
        }
    }

    /// Waits for the first event with one of the given ids, taken or not, or for the end of the output. Returns its id;
    /// `None` if the output ended without one.
    ///
    /// # Panics
    /// If nothing happens in time; the message contains all output.
    pub fn first_of(&self, ids: &[u64]) -> Option<u64> {
        let deadline = Instant::now() + TIMEOUT;
        let (lock, changed) = &*self.shared;
        let mut seen = lock.lock();
        loop {
            let found = seen
                .events
                .iter()
                .map(|(event, _)| event.id)
                .find(|id| ids.contains(id));
            if found.is_some() || seen.ended {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "none of {ids:?} among:\n{}",
                seen.lines.join("\n")
            );
            changed.wait_until(&mut seen, deadline);
        }
    }

    /// Returns every event with the given id so far, taken or not.
    pub fn all(&self, id: u64) -> Vec<Event> {
        self.with(|seen| {
            let wanted = seen.events.iter().filter(|(event, _)| event.id == id);
            wanted.map(|(event, _)| event.clone()).collect()
        })
    }

    /// Returns every line of output so far.
    pub fn lines(&self) -> Vec<String> {
        self.with(|seen| seen.lines.clone())
    }
}
