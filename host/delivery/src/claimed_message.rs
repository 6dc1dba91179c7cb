//! One claimed message from claim to settlement, whatever goes wrong on the way.

use std::any::Any;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;

use crate::ndr::{NdrService, Notification};
use host_config::Config;
use host_events::Event;
use host_mail::{Content, Mailbox, Timestamp};
use host_spool::{Claim, Draft, Failed, Message, PutError, Spool};

use super::attempt::Delivery;
use super::{DeliveryServices, Settings};
use crate::settlement::{self, SettlementPlan, faulted};
use crate::worker::work;

/// How long a message waits when its notices could not be written: the store's trouble, not the
/// message's.
const STORE_TROUBLE: Duration = Duration::from_secs(60);

/// How the work on a claim ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimEnd {
    /// What became of it is durable.
    Settled,
    /// The host stops: the rest of the work is for the next start.
    GivenBack,
    /// The store failed, and the claim is due as before: pause, or it comes back at once.
    StoreFailed,
}

/// What is needed to work on claims.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) station: Arc<DeliveryServices>,
    pub(super) spool: Spool,
    pub(super) ndr: NdrService,
    /// Turns true when a stop has no time left.
    pub(super) shutting_down: watch::Receiver<bool>,
}

/// What is settled, and what is told afterwards.
#[derive(Default)]
struct Settlement {
    next: Option<Message>,
    notices: Vec<(Draft, Message)>,
    events: Vec<Event>,
    /// The work was stopped; with nothing new to settle the claim is simply given back.
    interrupted: bool,
    /// Nothing is new: it waits for this destination.
    waits_for: Option<String>,
}

/// Why the work on a message could not be done.
enum WorkError {
    /// The message cannot be read.
    Unreadable(io::Error),
    /// Notices cannot be written.
    Store(PutError),
}

impl Worker {
    /// Works on a claim under the configuration as it is now.
    pub(super) async fn handle(mut self, claim: Claim, config: Arc<Config>) -> ClaimEnd {
        let settings = Settings::of(&config);
        // The record is outside of what may panic: what is delivered stays delivered.
        let mut record = claim.message().clone();
        let worked = AssertUnwindSafe(self.process(claim.content(), &mut record, settings))
            .catch_unwind()
            .await;
        let settlement = match worked {
            Ok(Ok(settlement)) => settlement,
            Ok(Err(WorkError::Unreadable(error))) => after_fault(record, &error.to_string(), settings),
            Ok(Err(WorkError::Store(error))) => after_store_trouble(record, &error),
            Err(panic) => after_fault(record, &format!("panic: {}", panic_text(panic.as_ref())), settings),
        };
        self.settle(claim, settlement).await
    }

    async fn process(
        &mut self,
        content: Arc<dyn Content>,
        record: &mut Message,
        settings: Settings<'_>,
    ) -> Result<Settlement, WorkError> {
        let before = record.clone();
        let envelope = record.envelope.clone();
        let job = Delivery {
            station: &self.station,
            settings,
            envelope: &envelope,
            content: &content,
        };
        let progress = work(job, record, &mut self.shutting_down)
            .await
            .map_err(WorkError::Unreadable)?;
        if progress.interrupted {
            return Ok(Settlement {
                next: Some(record.clone()),
                interrupted: true,
                ..Settlement::default()
            });
        }
        let now = Timestamp::now();
        if let Some(destination) = progress.waits_for()
            && *record == before
            && now < record.expires
        {
            return Ok(Settlement {
                waits_for: Some(destination.to_owned()),
                events: settlement::waits(record, &progress),
                ..Settlement::default()
            });
        }
        let conclusion = SettlementPlan::of(record.clone(), progress, settings, now);
        self.notify(conclusion, content).await
    }

    /// Plans the notices about what failed. They are settled together with the record, so that a
    /// failure is never lost between the two.
    async fn notify(&self, mut conclusion: SettlementPlan, content: Arc<dyn Content>) -> Result<Settlement, WorkError> {
        let mut events = std::mem::take(&mut conclusion.events);
        let failed = conclusion.to_notify();
        let notices = if failed.is_empty() {
            Vec::new()
        } else if conclusion.record.notification {
            events.extend(dropped(&conclusion.record, &failed));
            Vec::new()
        } else {
            // Few messages fail, and each would move the room for this along.
            match Box::pin(self.ndr.prepare(&conclusion.record, content, &failed)).await {
                Ok(Notification::Notices(notices)) => notices,
                Ok(Notification::Freeze(reason)) => return Ok(set_aside(conclusion, &reason, events)),
                Err(error) => return Err(WorkError::Store(error)),
            }
        };
        Ok(Settlement {
            next: conclusion.notified(),
            notices,
            events,
            ..Settlement::default()
        })
    }

    async fn settle(&self, claim: Claim, settlement: Settlement) -> ClaimEnd {
        if settlement.interrupted && settlement.next.as_ref() == Some(claim.message()) {
            return ClaimEnd::GivenBack;
        }
        if let Some(destination) = settlement.waits_for {
            settlement
                .events
                .into_iter()
                .for_each(|event| (self.station.tell)(event));
            claim.wait_for(&destination);
            return ClaimEnd::Settled;
        }
        let message = claim.message().id;
        match self.spool.settle(claim, settlement.next, settlement.notices).await {
            Ok(()) => {
                settlement
                    .events
                    .into_iter()
                    .for_each(|event| (self.station.tell)(event));
                match settlement.interrupted {
                    true => ClaimEnd::GivenBack,
                    false => ClaimEnd::Settled,
                }
            }
            Err(error) => {
                (self.station.tell)(not_processed(message, &format!("not settled: {error}")));
                ClaimEnd::StoreFailed
            }
        }
    }
}

/// An NDR that cannot be delivered is told to nobody (RFC 5321 section 4.5.5).
fn dropped(record: &Message, failed: &[(Mailbox, Failed)]) -> Vec<Event> {
    let event = |(to, failed): &(Mailbox, Failed)| Event::NotificationDropped {
        message: record.id.to_string(),
        to: to.to_string(),
        reason: failed.reply.to_string(),
    };
    failed.iter().map(event).collect()
}

fn set_aside(conclusion: SettlementPlan, reason: &str, mut events: Vec<Event>) -> Settlement {
    events.push(Event::MessageSetAside {
        message: conclusion.record.id.to_string(),
        reason: reason.to_owned(),
    });
    Settlement {
        next: Some(conclusion.frozen(reason)),
        events,
        ..Settlement::default()
    }
}

fn after_fault(record: Message, error: &str, settings: Settings<'_>) -> Settlement {
    let id = record.id;
    let (record, frozen) = faulted(record, error, settings, Timestamp::now());
    let mut events = vec![not_processed(id, error)];
    events.extend(frozen.map(|reason| Event::MessageSetAside {
        message: id.to_string(),
        reason,
    }));
    Settlement {
        next: Some(record),
        events,
        ..Settlement::default()
    }
}

fn after_store_trouble(mut record: Message, error: &PutError) -> Settlement {
    record.due = Timestamp::now().after(STORE_TROUBLE);
    Settlement {
        events: vec![not_processed(record.id, &error.to_string())],
        next: Some(record),
        ..Settlement::default()
    }
}

fn not_processed(message: host_mail::MessageId, error: &str) -> Event {
    Event::MessageNotProcessed {
        message: message.to_string(),
        error: error.to_owned(),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
