//! Takes a claimed message from claim to settlement, including after faults and panics.

use std::any::Any;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::ndr::{FailedDelivery, NdrService, Notification};
use host_config::Config;
use host_events::Event;
use host_mail::{Content, Timestamp};
use host_spool::{Claim, Draft, Message, PutError, RecipientState, Spool};

use crate::delay_notice;
use crate::delivery_services::{DeliveryServices, Settings};
use crate::destination_attempts::{Checkpoint, Supervision};
use crate::outgoing_delivery::Delivery;
use crate::remote_health::WaitBound;
use crate::settlement::{self, SettlementPlan, faulted};
use crate::signed_content::OutgoingContent;
use crate::success_reporter::SuccessReporter;
use crate::work_places::WorkPlace;
use crate::work_result::WorkResult;
use crate::worker::work;

/// Delay of the next attempt after the notices about a message could not be written. Such an error of the store does
/// not count as a fault of the message.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(60);

/// Result of the work on a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimEnd {
    /// The outcome is durable.
    Settled,
    /// The host stops; the remaining work is left to the next start.
    GivenBack,
    /// The store failed. The claim is due as before and would be claimed again at once, so the scheduler backs off.
    StoreFailed,
}

/// Processes claims.
pub(super) struct Worker {
    pub(super) services: Arc<DeliveryServices>,
    pub(super) spool: Spool,
    pub(super) ndr: NdrService,
    /// Turns true when the time for a graceful stop is over.
    pub(super) shutting_down: watch::Receiver<bool>,
}

/// Data to settle, and the events to emit once settled.
#[derive(Default)]
struct Settlement {
    /// Record that replaces the claimed record; `None` removes the message.
    next: Option<Message>,
    notices: Vec<(Draft, Message)>,
    events: Vec<Event>,
    /// True if the work was stopped. Without changes to settle, the claim is given back.
    interrupted: bool,
    /// Wait for destinations; the record is settled already.
    wait: Option<DestinationWait>,
}

/// A wait for destinations that are down, or have no connection free.
struct DestinationWait {
    destinations: Vec<String>,
    /// Time at which the wait ends.
    until: Timestamp,
    /// True if the wait is for a connection and not for a destination that is down.
    is_brief: bool,
}

/// Error that prevented the work on a message.
enum WorkError {
    /// The message cannot be read.
    Unreadable(io::Error),
    /// The notices about failures cannot be written.
    Store(PutError),
}

impl Worker {
    /// Processes and settles a claim under `config`. A panic counts as a fault of the message. `place` is given up once
    /// the message only waits for other hosts.
    pub(super) async fn handle(self: Arc<Self>, mut claim: Claim, config: Arc<Config>, place: WorkPlace) -> ClaimEnd {
        let settings = Settings::of(&config);
        // The record lives outside of the code that may panic, so that completed deliveries are kept.
        let mut record = Box::new(claim.message().clone());
        let result = AssertUnwindSafe(self.process(&mut claim, &mut record, settings, place))
            .catch_unwind()
            .await;
        let settlement = match result {
            Ok(Ok(settlement)) => settlement,
            Ok(Err(WorkError::Unreadable(error))) if may_pass(&error) => after_store_error(*record, &error),
            Ok(Err(WorkError::Unreadable(error))) => after_fault(*record, &error.to_string(), settings),
            Ok(Err(WorkError::Store(error))) => after_store_error(*record, &error),
            Err(panic) => after_fault(*record, &format!("panic: {}", panic_text(panic.as_ref())), settings),
        };
        self.settle(claim, settlement).await
    }

    async fn process(
        &self,
        claim: &mut Claim,
        record: &mut Message,
        settings: Settings<'_>,
        place: WorkPlace,
    ) -> Result<Settlement, WorkError> {
        let content = claim.content();
        let outgoing = OutgoingContent::new(content.clone(), record, &self.services.signers);
        let envelope = record.envelope.clone();
        let delivery = Delivery {
            services: &self.services,
            settings,
            envelope: &envelope,
            forwarding_sender: None,
            content: &content,
            outgoing: &outgoing,
            reports: None,
            received: record.received,
            is_forced: claim.is_released(),
            is_tls_report: false,
            wait_bound: WaitBound::Remote,
        };
        let mut checkpoint = ClaimCheckpoint {
            claim,
            spool: &self.spool,
            ndr: &self.ndr,
            services: &self.services,
            settings,
        };
        let supervision = Supervision {
            place: Some(place),
            checkpoint: &mut checkpoint,
            shutting_down: &mut self.shutting_down.clone(),
        };
        let progress = work(&delivery, record, supervision)
            .await
            .map_err(WorkError::Unreadable)?;
        if progress.interrupted {
            return Ok(Settlement {
                next: Some(record.clone()),
                interrupted: true,
                ..Settlement::default()
            });
        }
        if record.successes.is_empty() && !settlement::remains(record) {
            return Ok(Settlement::default());
        }
        let now = Timestamp::now();
        let waits_for = progress.waits_for();
        if !waits_for.is_empty() && now < record.expires && !delay_notice::is_due(record, settings, now) {
            if has_new_outcomes(record, claim.message()) || !record.successes.is_empty() {
                // Boxed, as the notices below: few messages come so far, and the future of each would enlarge this one.
                let reporter = self.reporter(settings);
                let report = Box::pin(reporter.tell(record, content))
                    .await
                    .map_err(WorkError::Store)?;
                let settled = Box::pin(self.spool.checkpoint(claim, record.clone(), report));
                settled.await.map_err(WorkError::Store)?;
            }
            return Ok(Settlement {
                wait: Some(DestinationWait {
                    destinations: waits_for.into_iter().map(str::to_owned).collect(),
                    until: delay_notice::due_at(record, settings).unwrap_or(record.expires),
                    is_brief: progress.is_only_crowded(),
                }),
                events: settlement::waiting_events(record, &progress),
                ..Settlement::default()
            });
        }
        let plan = SettlementPlan::of(record.clone(), progress, settings, now);
        Box::pin(self.notify(plan, content, settings)).await
    }

    /// Plans the notices about failed recipients. Notices are settled together with the record, so that a crash between
    /// the two cannot lose a failure.
    async fn notify(
        &self,
        mut plan: SettlementPlan,
        content: Arc<dyn Content>,
        settings: Settings<'_>,
    ) -> Result<Settlement, WorkError> {
        // Before the events about the reports.
        plan.findings()
            .into_iter()
            .for_each(|event| (self.services.emit)(event));
        let mut events = std::mem::take(&mut plan.events);
        let directory = &*self.services.directory;
        let failed = plan.deliveries(&plan.failed, directory, settings).await;
        let mut notices = if failed.is_empty() {
            Vec::new()
        } else if plan.record.notification {
            events.extend(dropped_notices(&plan.record, &failed));
            Vec::new()
        } else {
            // Boxed: few messages fail, and the large future would enlarge every task.
            match Box::pin(self.ndr.prepare(&plan.record, content.clone(), &failed)).await {
                Ok(Notification::Notices(notices)) => notices,
                Ok(Notification::Freeze(reason)) => return Ok(freeze(plan, &reason, events)),
                Err(error) => return Err(WorkError::Store(error)),
            }
        };
        if !plan.delayed.is_empty() {
            let delayed = plan.deliveries(&plan.delayed, directory, settings).await;
            let notice = Box::pin(
                self.ndr
                    .delayed(&plan.record, content.clone(), &delayed, plan.record.expires),
            );
            notices.extend(notice.await.map_err(WorkError::Store)?);
            plan.record.delay_reported = true;
        }
        if !plan.record.successes.is_empty() {
            let reporter = self.reporter(settings);
            let report = Box::pin(reporter.tell(&mut plan.record, content));
            notices.extend(report.await.map_err(WorkError::Store)?);
        }
        Ok(Settlement {
            next: plan.notified(),
            notices,
            events,
            ..Settlement::default()
        })
    }

    fn reporter<'a>(&'a self, settings: Settings<'a>) -> SuccessReporter<'a> {
        SuccessReporter {
            ndr: &self.ndr,
            services: &self.services,
            settings,
        }
    }

    /// Begins to settle a claim. The future, which is small, waits for the spool and emits the events.
    fn settle(&self, claim: Claim, settlement: Settlement) -> impl Future<Output = ClaimEnd> + Send {
        let message = claim.message().id;
        let Settlement {
            next,
            notices,
            mut events,
            interrupted,
            wait,
        } = settlement;
        let written = if interrupted && next.as_ref() == Some(claim.message()) {
            Err(ClaimEnd::GivenBack)
        } else if let Some(wait) = wait {
            // The message may be claimed again as soon as it waits.
            for event in events.drain(..) {
                (self.services.emit)(event);
            }
            match wait.destinations.as_slice() {
                [only] if wait.is_brief => claim.wait_briefly_for(only, wait.until),
                all => claim.wait_for(&all.iter().map(String::as_str).collect::<Vec<_>>(), wait.until),
            }
            Err(ClaimEnd::Settled)
        } else {
            Ok(self.spool.settle(claim, next, notices))
        };
        async move {
            let written = match written {
                Ok(written) => written.await,
                Err(end) => return end,
            };
            if let Err(error) = written {
                (self.services.emit)(not_processed(message, &format!("not settled: {error}")));
                return ClaimEnd::StoreFailed;
            }
            events.into_iter().for_each(|event| (self.services.emit)(event));
            match interrupted {
                true => ClaimEnd::GivenBack,
                false => ClaimEnd::Settled,
            }
        }
    }
}

/// Settles the outcomes of a claim while the work on the claim goes on.
struct ClaimCheckpoint<'a> {
    claim: &'a mut Claim,
    spool: &'a Spool,
    ndr: &'a NdrService,
    services: &'a DeliveryServices,
    settings: Settings<'a>,
}

impl Checkpoint for ClaimCheckpoint<'_> {
    fn settle<'a>(&'a mut self, record: &'a mut Message, progress: &'a mut WorkResult) -> BoxFuture<'a, ()> {
        async move {
            let failed = std::mem::take(&mut progress.failed);
            let now = Timestamp::now();
            let plan = SettlementPlan::so_far(record.clone(), failed.clone(), &progress.deferred, now);
            if let Some(next) = self.write(plan).await {
                *record = next;
            } else {
                progress.failed = failed;
            }
        }
        .boxed()
    }
}

impl ClaimCheckpoint<'_> {
    /// Writes the outcomes and the notices. `None` if nothing was written: the end of the work tries again.
    async fn write(&mut self, plan: SettlementPlan) -> Option<Message> {
        // Before the events about the reports.
        plan.findings()
            .into_iter()
            .for_each(|event| (self.services.emit)(event));
        let directory = &*self.services.directory;
        let failed = plan.deliveries(&plan.failed, directory, self.settings).await;
        let mut events = Vec::new();
        let notices = if failed.is_empty() {
            Vec::new()
        } else if plan.record.notification {
            events.extend(dropped_notices(&plan.record, &failed));
            Vec::new()
        } else {
            match self.ndr.prepare(&plan.record, self.claim.content(), &failed).await {
                Ok(Notification::Notices(notices)) => notices,
                Ok(Notification::Freeze(_)) | Err(_) => return None,
            }
        };
        let mut next = plan.notified()?;
        if next == *self.claim.message() {
            return Some(next);
        }
        let mut notices = notices;
        if !next.successes.is_empty() {
            let reporter = SuccessReporter {
                ndr: self.ndr,
                services: self.services,
                settings: self.settings,
            };
            notices.extend(reporter.tell(&mut next, self.claim.content()).await.ok()?);
        }
        self.spool.checkpoint(self.claim, next.clone(), notices).await.ok()?;
        events.into_iter().for_each(|event| (self.services.emit)(event));
        Some(next)
    }
}

/// True if a recipient of `record` is done that was not done `before`.
fn has_new_outcomes(record: &Message, before: &Message) -> bool {
    let done = |message: &Message| {
        let states = message.recipients.iter().map(|recipient| &recipient.state);
        states
            .filter(|state| !matches!(state, RecipientState::Pending { .. }))
            .count()
    };
    done(record) != done(before)
}

/// Events for a notification that cannot be delivered. No report is sent about a report (RFC 5321 section 4.5.5).
fn dropped_notices(record: &Message, failed: &[FailedDelivery]) -> Vec<Event> {
    let event = |failed: &FailedDelivery| Event::NotificationDropped {
        message: record.id.to_string(),
        to: failed.written.to_string(),
        reason: failed.why.reply.to_string(),
    };
    failed.iter().map(event).collect()
}

fn freeze(plan: SettlementPlan, reason: &str, mut events: Vec<Event>) -> Settlement {
    events.push(Event::MessageSetAside {
        message: plan.record.id.to_string(),
        reason: reason.to_owned(),
    });
    Settlement {
        next: Some(plan.frozen(reason)),
        events,
        ..Settlement::default()
    }
}

/// True for an error of the system or the disk, which may pass. Missing or damaged bytes do not come back.
fn may_pass(error: &io::Error) -> bool {
    let of_system = error.raw_os_error().is_some() && error.kind() != io::ErrorKind::NotFound;
    of_system || error.kind() == io::ErrorKind::ResourceBusy
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

fn after_store_error(mut record: Message, error: &dyn std::fmt::Display) -> Settlement {
    record.due = Timestamp::now().after(STORE_RETRY_DELAY);
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
