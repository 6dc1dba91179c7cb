//! Time of a remote's last sign of life during a delivery.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// A shared record of the last sign of life. A clone refers to the same record.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<LastActivity>>);

struct LastActivity {
    at: Instant,
    /// True once the whole message was sent: the remote may have accepted the message without a reply so far.
    is_in_doubt: bool,
}

impl Activity {
    /// Creates a record with a sign of life now.
    pub(super) fn new() -> Self {
        let last = LastActivity {
            at: Instant::now(),
            is_in_doubt: false,
        };
        Self(Arc::new(Mutex::new(last)))
    }

    /// Records that octets or a reply went over the connection.
    pub(super) fn touch(&self) {
        self.0.lock().at = Instant::now();
    }

    /// Records that the remote may, or may no longer, have accepted a message of which the reply is missing.
    pub(super) fn set_in_doubt(&self, in_doubt: bool) {
        let mut last = self.0.lock();
        last.is_in_doubt = in_doubt;
        last.at = Instant::now();
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        self.0.lock().is_in_doubt
    }

    pub(super) fn has_been_silent_for(&self, patience: impl Fn(&Self) -> Duration) -> bool {
        let patience = patience(self);
        self.0.lock().at + patience <= Instant::now()
    }

    /// Waits until the remote has been silent for the time that `patience` returns. Cancel safe.
    pub(super) async fn silent_for(&self, patience: impl Fn(&Self) -> Duration) {
        loop {
            let patience = patience(self);
            let end = self.0.lock().at + patience;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}
