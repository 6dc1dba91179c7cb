//! What the daemon says on stdout: one JSON object a line.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;

use crate::wait::PATIENCE;

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Catalogue id.
    pub id: u64,
    /// The event's own fields.
    pub fields: Value,
}

impl Event {
    /// A field as text: strings without quotes, everything else as JSON, nothing for none.
    pub fn text(&self, field: &str) -> String {
        match &self.fields[field] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    /// With whether [`Events::take`] has handed it out.
    events: Vec<(Event, bool)>,
    ended: bool,
}

/// Everything a daemon said so far. Cheap to clone.
#[derive(Clone, Default)]
pub struct Events {
    shared: Arc<(Mutex<Seen>, Condvar)>,
}

impl Events {
    /// Reads a daemon's stdout in a thread, to its end.
    pub(crate) fn follow(&self, stream: impl Read + Send + 'static) {
        let this = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                this.push(line);
            }
            this.with(|seen| seen.ended = true);
        });
    }

    /// Keeps the lines of stderr with the others, to be shown with a failure.
    pub(crate) fn listen(&self, stream: impl Read + Send + 'static) {
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

    fn with<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        let (lock, told) = &*self.shared;
        let result = act(&mut lock.lock().unwrap_or_else(PoisonError::into_inner));
        told.notify_all();
        result
    }

    /// Waits for an event of this id that was not taken yet and takes it.
    ///
    /// # Panics
    /// When none comes, with everything that was said.
    pub fn take(&self, id: u64) -> Event {
        self.take_where(id, |_| true)
    }

    /// As [`Self::take`], for one that fulfils a condition.
    ///
    /// # Panics
    /// When none comes, with everything that was said.
    pub fn take_where(&self, id: u64, is: impl Fn(&Event) -> bool) -> Event {
        let deadline = Instant::now() + PATIENCE;
        let (lock, told) = &*self.shared;
        let mut seen = lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let wanted = seen
                .events
                .iter_mut()
                .find(|(event, taken)| !taken && event.id == id && is(event));
            if let Some((event, taken)) = wanted {
                *taken = true;
                return event.clone();
            }
            let now = Instant::now();
            assert!(
                now < deadline && !seen.ended,
                "no event {id} (as wanted) among:\n{}",
                seen.lines.join("\n")
            );
            seen = told
                .wait_timeout(seen, deadline - now)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Every event of this id so far, taken or not.
    pub fn all(&self, id: u64) -> Vec<Event> {
        self.with(|seen| {
            let wanted = seen.events.iter().filter(|(event, _)| event.id == id);
            wanted.map(|(event, _)| event.clone()).collect()
        })
    }

    /// Every line so far.
    pub fn lines(&self) -> Vec<String> {
        self.with(|seen| seen.lines.clone())
    }
}
