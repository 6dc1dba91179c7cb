//! Time of the notice that a message is delayed (RFC 3464 section 2.3.3).

use host_mail::{DeliverByMode, ReversePath, Timestamp};
use host_spool::{Message, RecipientState, State};

use crate::delivery_services::Settings;

/// Returns the time from which the sender is to be told that the message is delayed: once a message, unless it expires
/// before. `None` if no notice is due, now or later.
pub(super) fn due_at(record: &Message, settings: Settings<'_>) -> Option<Timestamp> {
    let has_reader = record.envelope.sender != ReversePath::Null && !record.notification;
    if !has_reader || record.delay_reported || record.state != State::Queued {
        return None;
    }
    let mut pending = record
        .recipients
        .iter()
        .filter(|each| matches!(each.state, RecipientState::Pending { .. }));
    // RFC 3461 section 5.2.6: not for recipients whose NOTIFY leaves out DELAY.
    if !pending.any(|recipient| recipient.wants_delay()) {
        return None;
    }
    let envelope = &record.envelope;
    let release = envelope
        .hold()
        .map_or(record.received, |hold| hold.release(record.received));
    let usual = settings.delivery.delay_notice.map(|age| release.after(age));
    // RFC 2852 section 4: the end of the time that the sender gave.
    let by = envelope.deliver_by().filter(|by| by.mode == DeliverByMode::Notify);
    let given = by.map(|by| by.deadline(record.received));
    let at = usual.into_iter().chain(given).min()?;
    (at < record.expires).then_some(at)
}

/// True if the notice is due at `now`.
pub(super) fn is_due(record: &Message, settings: Settings<'_>, now: Timestamp) -> bool {
    due_at(record, settings).is_some_and(|at| at <= now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use std::path::Path;
    use std::time::Duration;

    #[test]
    fn notice_is_due_once_and_to_a_sender_only() {
        let mut delivery = testing::delivery();
        let at = |record: &Message, delivery: &host_config::DeliveryConfig| {
            due_at(record, testing::settings(delivery, Path::new("/")))
        };
        let message = testing::message(&["a@far.example"]);
        assert_eq!(at(&message, &delivery), None, "no notices are configured");
        delivery.delay_notice = Some(Duration::from_secs(5));
        assert_eq!(at(&message, &delivery), Some(Timestamp(5000)));
        let changed = |change: fn(&mut Message)| {
            let mut record = message.clone();
            change(&mut record);
            at(&record, &delivery)
        };
        assert_eq!(changed(|record| record.expires = Timestamp(5000)), None);
        assert_eq!(changed(|record| record.delay_reported = true), None);
        assert_eq!(changed(|record| record.notification = true), None);
        assert_eq!(changed(|record| record.envelope.sender = ReversePath::Null), None);
    }
}
