//! Acts when a generation on trial faults too often, and when a time is over. Questions are
//! answered meanwhile: whoever asks only leaves a note.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use tokio::sync::mpsc;

use crate::evaluate::route::Trial;
use crate::manage::manager::Inner;
use host_engine::sliding_window::Tally;

/// A note for the warden.
pub(crate) enum Note {
    /// A trial failed. Sent once for each.
    Failed(Trial, Tally),
    /// The chain is another one, and with it the time of what comes next.
    Changed,
}

/// Where notes are left. In a rehearsal nobody reads them.
#[derive(Default)]
pub(crate) struct Notes(OnceLock<mpsc::UnboundedSender<Note>>);

impl Notes {
    pub(crate) fn leave(&self, note: Note) {
        if let Some(notes) = self.0.get() {
            // The warden goes only when nobody is left who could ask.
            let _ = notes.send(note);
        }
    }
}

/// Starts the warden of a chain. It ends with the chain.
pub(crate) fn watch(inner: &Arc<Inner>) {
    let (sender, notes) = mpsc::unbounded_channel();
    if inner.core.notes.0.set(sender).is_ok() {
        tokio::spawn(run(Arc::downgrade(inner), notes));
    }
}

async fn run(inner: Weak<Inner>, mut notes: mpsc::UnboundedReceiver<Note>) {
    loop {
        let Some(next) = inner.upgrade().map(|inner| inner.next_end()) else {
            return;
        };
        let note = match next {
            None => notes.recv().await,
            Some(at) => match tokio::time::timeout_at(at.into(), notes.recv()).await {
                Ok(note) => note,
                Err(_) => Some(Note::Changed),
            },
        };
        let (Some(note), Some(inner)) = (note, inner.upgrade()) else {
            return;
        };
        match note {
            Note::Failed(Trial::Probation(probation), tally) => inner.put_back(&probation, tally).await,
            Note::Failed(Trial::Staging(staging), tally) => inner.stage_failed(&staging, tally).await,
            Note::Changed => {}
        }
        let now = Instant::now();
        inner.end_probations(now).await;
        inner.end_stage(now).await;
    }
}

impl Inner {
    /// When the next trial is over.
    fn next_end(&self) -> Option<Instant> {
        let chain = self.chain.load();
        let probations = chain.modules.iter().filter_map(|module| module.probation.as_ref());
        let ends = probations.map(|probation| probation.ends);
        ends.chain(chain.staging.as_ref().map(|staging| staging.ends)).min()
    }
}
