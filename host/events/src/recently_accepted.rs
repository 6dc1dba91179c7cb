//! Acceptances (5006) that the last run recorded in the end of its log.

use std::collections::HashSet;
use std::time::Duration;

use host_mail::{MessageId, Timestamp};

use super::EventRecord;

/// Time before the last record of a run in which the acceptance of a message may not have been recorded any more: longer
/// than any put into the spool, and the wait of its event, may take.
const WINDOW: Duration = Duration::from_secs(60);

/// Id of the event about an accepted message.
const ACCEPTED: u32 = 5006;

/// Messages that the last run accepted shortly before its end. The default knows of no last run.
#[derive(Debug, Default)]
pub struct RecentlyAccepted {
    /// Begin of the time that is known; `None` without a last run.
    since: Option<Timestamp>,
    recorded: HashSet<String>,
}

impl RecentlyAccepted {
    /// Adds a record of the run before `opened`, the newest first. False if the record and all before are not needed.
    pub(super) fn add(&mut self, record: &EventRecord, opened: Timestamp) -> bool {
        let Ok(time) = record.time.parse::<Timestamp>() else {
            return true;
        };
        if time >= opened {
            return true;
        }
        let window = u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX);
        let since = *self.since.get_or_insert(Timestamp(time.0.saturating_sub(window)));
        if record.id == ACCEPTED
            && let Some(message) = record.fields["message"].as_str()
        {
            self.recorded.insert(message.to_owned());
        }
        time >= since
    }

    /// True if a message that was received at this time was accepted without a record of it: the process was killed
    /// between its sync and its event.
    pub fn lacks(&self, message: MessageId, received: Timestamp) -> bool {
        self.since.is_some_and(|since| received >= since) && !self.recorded.contains(&message.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at: u64, id: u32, message: MessageId) -> EventRecord {
        EventRecord {
            time: Timestamp(at).to_string(),
            id,
            name: String::new(),
            severity: crate::Severity::Info,
            fields: serde_json::json!({ "message": message.to_string() }),
        }
    }

    #[test]
    fn knows_the_acceptances_of_the_last_minute_of_the_last_run() {
        let [here, lost, old] = [(); 3].map(|()| MessageId::generate());
        let mut known = RecentlyAccepted::default();
        assert!(
            !known.lacks(lost, Timestamp(u64::MAX)),
            "without a last run nothing is known"
        );
        assert!(
            known.add(&record(1_000_000, 5006, lost), Timestamp(500_000)),
            "of this run"
        );
        assert!(known.add(&record(400_000, 5007, lost), Timestamp(500_000)));
        assert!(known.add(&record(399_000, 5006, here), Timestamp(500_000)));
        assert!(
            !known.add(&record(300_000, 5006, old), Timestamp(500_000)),
            "before the window"
        );
        assert!(known.lacks(lost, Timestamp(399_500)) && !known.lacks(here, Timestamp(398_000)));
        assert!(!known.lacks(old, Timestamp(299_000)));
    }
}
