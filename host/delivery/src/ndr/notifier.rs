//! Writes the drafts of reports.

use std::time::Duration;

use super::as_sent::AsSent;
use super::compose::{self, Composed, Occasion, ReportFields, Returned};
use super::disclosure::{self, ReportReader, ReportedRecipient};
use super::failed_delivery::FailedDelivery;
use super::failure_facts::failed_addresses;
use super::notice_rules::{self, Addressed, PlannedClass};
use host_contract::ReturnContent;
use host_events::{Event, Events};
use host_mail::{
    BodyType, Content, DeliverByMode, Envelope, EnvelopeOptions, HeaderBlock, Mailbox, RecipientDsn, ReturnedPart,
    ReversePath, Timestamp,
};
use host_spool::{Draft, Message, PutError, Recipient, Spool, State};

/// Time for the delivery of a report about a message whose time the sender has cut short.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Bytes of the original that are copied at a time.
const CHUNK_SIZE: usize = 64 * 1024;

/// Result of planning the notices about failed recipients.
pub enum Notification {
    /// Drafts to settle together with the original. May be empty.
    Notices(Vec<(Draft, Message)>),
    /// The policy faulted, and the fault table requires the message to be frozen. Holds the reason.
    Freeze(String),
}

/// A report to write.
struct PendingReport<'a> {
    to: &'a Mailbox,
    reader: ReportReader,
    content: ReturnContent,
    remarks: &'a [String],
    occasion: Occasion,
    about: &'a [&'a FailedDelivery],
}

/// Writes reports about an original message.
pub(super) struct Notifier<'a> {
    pub spool: &'a Spool,
    pub events: &'a Events,
    pub hostname: &'a str,
    pub administrator: &'a Mailbox,
    pub original: &'a Message,
    pub content: &'a dyn Content,
    pub header: &'a HeaderBlock,
}

impl Notifier<'_> {
    /// Carries out the plans for all classes of failures: one report for each address.
    pub async fn carry_out(
        &self,
        planned: &[PlannedClass],
        failed: &[FailedDelivery],
    ) -> Result<Vec<(Draft, Message)>, PutError> {
        let (mut addressed, dropped) = notice_rules::address(planned, self.administrator);
        for drop in dropped {
            self.emit_dropped(drop.to, drop.reason);
        }
        self.drop_unwanted(&mut addressed, planned, failed);
        self.redirect_unknown(&mut addressed, planned, failed);
        let mut notices = Vec::with_capacity(addressed.len());
        for report in &addressed {
            let about = about(report, planned, failed);
            let (draft, message) = self.write(self.pending(report, &about)).await?;
            self.emit_sent(report, planned, &message);
            notices.push((draft, message));
        }
        Ok(notices)
    }

    /// Writes the notice that a delivery is delayed, and that this host tries until `until`. `None` if the sender wrote
    /// none of the addresses, or has no address itself.
    pub async fn delayed(
        &self,
        delayed: &[FailedDelivery],
        until: Timestamp,
    ) -> Result<Option<(Draft, Message)>, PutError> {
        let ReversePath::Mailbox(to) = &self.original.envelope.sender else {
            return Ok(None);
        };
        let about: Vec<_> = delayed.iter().collect();
        let Some((draft, notice)) = self.tell_sender(to, Occasion::Delayed { until }, &about).await? else {
            return Ok(None);
        };
        self.events.emit(Event::DelayNoticeSent {
            message: self.original.id.to_string(),
            notice: notice.id.to_string(),
            to: to.to_string(),
            about: delayed.iter().map(|each| each.written.to_string()).collect(),
            until: until.to_string(),
        });
        Ok(Some((draft, notice)))
    }

    /// Writes the report about deliveries of which the sender wants to learn. `None` as for [`Self::delayed`].
    pub async fn succeeded(&self, delivered: &[FailedDelivery]) -> Result<Option<(Draft, Message)>, PutError> {
        let ReversePath::Mailbox(to) = &self.original.envelope.sender else {
            return Ok(None);
        };
        let about: Vec<_> = delivered.iter().collect();
        let Some((draft, notice)) = self.tell_sender(to, Occasion::Succeeded, &about).await? else {
            return Ok(None);
        };
        self.events.emit(Event::SuccessNoticeSent {
            message: self.original.id.to_string(),
            notice: notice.id.to_string(),
            to: to.to_string(),
            about: delivered.iter().map(|each| each.written.to_string()).collect(),
        });
        Ok(Some((draft, notice)))
    }

    /// Writes a report to the sender that no policy has planned.
    async fn tell_sender(
        &self,
        to: &Mailbox,
        occasion: Occasion,
        about: &[&FailedDelivery],
    ) -> Result<Option<(Draft, Message)>, PutError> {
        let report = PendingReport {
            to,
            reader: self.sender(),
            content: ReturnContent::Headers,
            remarks: &[],
            occasion,
            about,
        };
        match self.told(&report).is_empty() {
            true => Ok(None),
            false => self.write(report).await.map(Some),
        }
    }

    /// The recipients of a report: for the sender without those that NOTIFY leaves out.
    fn told(&self, report: &PendingReport<'_>) -> Vec<ReportedRecipient> {
        let mut told = disclosure::recipients(report.reader, self.original, report.about, self.hostname);
        if self.is_sender(report.to) && report.reader != ReportReader::Administrator {
            let is_wanted = match report.occasion {
                Occasion::Failed => RecipientDsn::wants_failure,
                Occasion::Delayed { .. } => RecipientDsn::wants_delay,
                // NOTIFY=SUCCESS or BY has requested each of them.
                Occasion::Succeeded => RecipientDsn::allows_reports,
            };
            disclosure::retain_wanted(&mut told, self.original, is_wanted);
        }
        told
    }

    fn is_sender(&self, address: &Mailbox) -> bool {
        let sender = self.original.envelope.sender.mailbox();
        sender.is_some_and(|sender| sender.key() == address.key())
    }

    /// The part of the original to return: the sender may want less than the plan allows (RET, RFC 3461 section 4.3).
    fn returned_content(&self, report: &Addressed) -> ReturnContent {
        match (report.content, self.original.envelope.returned_part()) {
            (ReturnContent::Full, Some(ReturnedPart::Headers)) if self.is_sender(&report.to) => ReturnContent::Headers,
            (planned, _) => planned,
        }
    }

    /// Drops the reports of which the sender wants none (NOTIFY, RFC 3461 section 4.1), also where a plan names the sender. The
    /// administrator's reports stay.
    fn drop_unwanted(&self, addressed: &mut Vec<Addressed>, planned: &[PlannedClass], failed: &[FailedDelivery]) {
        addressed.retain(|report| {
            let (reader, about) = (self.reader(report), about(report, planned, failed));
            if disclosure::recipients(reader, self.original, &about, self.hostname).is_empty() {
                return true;
            }
            let is_wanted = !self.told(&self.pending(report, &about)).is_empty();
            if !is_wanted {
                self.emit_dropped(report.to.to_string(), "the sender wants no report about it (NOTIFY)");
            }
            is_wanted
        });
    }

    fn pending<'b>(&self, report: &'b Addressed, about: &'b [&'b FailedDelivery]) -> PendingReport<'b> {
        PendingReport {
            to: &report.to,
            reader: self.reader(report),
            content: self.returned_content(report),
            remarks: &report.remarks,
            occasion: Occasion::Failed,
            about,
        }
    }

    /// Addresses a report to the administrator where its reader wrote none of the failed addresses: a policy added them,
    /// and the reader does not learn of them.
    fn redirect_unknown(&self, addressed: &mut Vec<Addressed>, planned: &[PlannedClass], failed: &[FailedDelivery]) {
        let mut unknown = Vec::new();
        addressed.retain_mut(|report| {
            let about = about(report, planned, failed);
            let told = disclosure::recipients(self.reader(report), self.original, &about, self.hostname);
            if told.is_empty() {
                unknown.push((report.to.to_string(), std::mem::take(&mut report.classes)));
            }
            !told.is_empty()
        });
        for (to, classes) in unknown {
            self.emit_dropped(to, "a policy added the recipients; the administrator is told");
            let same = addressed
                .iter_mut()
                .find(|report| report.to.key() == self.administrator.key());
            match same {
                Some(report) => {
                    report.classes.extend(classes);
                    report.classes.sort_unstable();
                    report.classes.dedup();
                }
                None => addressed.push(Addressed {
                    to: self.administrator.clone(),
                    content: ReturnContent::Headers,
                    remarks: Vec::new(),
                    classes,
                    to_sender: false,
                }),
            }
        }
    }

    fn reader(&self, report: &Addressed) -> ReportReader {
        if report.to.key() == self.administrator.key() {
            ReportReader::Administrator
        } else if report.to_sender {
            self.sender()
        } else {
            ReportReader::Sender { authenticated: false }
        }
    }

    fn sender(&self) -> ReportReader {
        let client = self.original.client.as_ref();
        ReportReader::Sender {
            authenticated: client.is_some_and(|client| client.identity.is_some()),
        }
    }

    async fn write(&self, report: PendingReport<'_>) -> Result<(Draft, Message), PutError> {
        let failed = |error: std::io::Error| PutError::Store(error.to_string());
        let now = Timestamp::now();
        let mut draft = self.spool.notice_draft();
        let as_sent = AsSent::new(self.content, self.header, self.hostname, self.original.id);
        let (content, header): (&dyn Content, _) = match report.reader {
            ReportReader::Administrator => (self.content, self.header.clone()),
            ReportReader::Sender { .. } => (&as_sent, HeaderBlock::read(&as_sent).map_err(failed)?),
        };
        let recipients = self.told(&report);
        let utf8 = !report.to.is_ascii();
        let (returned, truncation) = compose::returned(report.content, content, &header, utf8).map_err(failed)?;
        let composed = compose::compose(&ReportFields {
            hostname: self.hostname,
            id: draft.id(),
            boundary: format!("={:016x}={}", rand::random::<u64>(), draft.id()),
            now,
            to: report.to,
            reader: report.reader,
            occasion: report.occasion,
            original: self.original,
            header: &header,
            recipients: &recipients,
            remarks: report.remarks,
            returned: &returned,
            truncation,
        });
        write_parts(&mut draft, &composed, &returned, content).await?;
        let message = self.record(&draft, &composed, report.to, now);
        Ok((draft, message))
    }

    fn record(&self, draft: &Draft, composed: &Composed, to: &Mailbox, now: Timestamp) -> Message {
        Message {
            id: draft.id(),
            received: now,
            envelope: Envelope {
                sender: ReversePath::Null,
                recipients: vec![to.clone()],
                body: match composed.eight_bit {
                    true => BodyType::EightBitMime,
                    false => BodyType::SevenBit,
                },
                smtputf8: !to.is_ascii(),
                // RFC 8689 section 5: used where it is offered.
                options: self.original.envelope.requires_tls().then(|| {
                    Box::new(EnvelopeOptions {
                        require_tls: true,
                        ..EnvelopeOptions::default()
                    })
                }),
            },
            client: None,
            size: draft.size(),
            state: State::Queued,
            recipients: vec![Recipient::pending(to.clone())],
            attempts: 0,
            due: now,
            expires: now.after(self.lifetime()),
            notification: true,
            faults: 0,
            delay_reported: false,
            successes: Vec::new(),
        }
    }

    /// Time for the delivery of a report: that of the original, unless the sender has cut it short (RFC 2852).
    fn lifetime(&self) -> Duration {
        let lifetime = self.original.received.until(self.original.expires);
        let by = self.original.envelope.deliver_by();
        match by.is_some_and(|by| by.mode == DeliverByMode::Return) {
            true => lifetime.max(SHORTEST_LIFETIME),
            false => lifetime,
        }
    }

    fn emit_dropped(&self, to: String, reason: &str) {
        self.events.emit(Event::NotificationDropped {
            message: self.original.id.to_string(),
            to,
            reason: reason.to_owned(),
        });
    }

    fn emit_sent(&self, report: &Addressed, planned: &[PlannedClass], notice: &Message) {
        let classes = || report.classes.iter().filter_map(|class| planned.get(*class));
        let mut reasons: Vec<String> = classes().map(|class| class.because.to_string()).collect();
        reasons.dedup();
        let names: Vec<&str> = classes().map(|class| class.failure.class.as_str()).collect();
        self.events.emit(Event::NoticeSent {
            message: self.original.id.to_string(),
            notice: notice.id.to_string(),
            to: report.to.to_string(),
            about: classes().flat_map(|class| failed_addresses(&class.failure)).collect(),
            class: names.join(", "),
            because: reasons.join("; "),
        });
    }
}

/// The failed deliveries that a report is about.
fn about<'a>(report: &Addressed, planned: &[PlannedClass], failed: &'a [FailedDelivery]) -> Vec<&'a FailedDelivery> {
    let classes = report.classes.iter().filter_map(|class| planned.get(*class));
    let names: Vec<&str> = classes.map(|class| class.failure.class.as_str()).collect();
    failed
        .iter()
        .filter(|each| names.contains(&each.why.class.as_str()))
        .collect()
}

async fn write_parts(
    draft: &mut Draft,
    composed: &Composed,
    returned: &Returned,
    content: &dyn Content,
) -> Result<(), PutError> {
    draft.write(composed.before.as_bytes()).await?;
    match returned {
        Returned::Nothing => {}
        Returned::Headers { bytes, .. } | Returned::Recoded { bytes } => draft.write(bytes).await?,
        Returned::Full { .. } => copy(content, draft).await?,
    }
    draft.write(composed.after.as_bytes()).await
}

async fn copy(content: &dyn Content, draft: &mut Draft) -> Result<(), PutError> {
    let mut offset = 0;
    while offset < content.size() {
        let piece = content
            .read(offset, CHUNK_SIZE)
            .map_err(|error| PutError::Store(error.to_string()))?;
        if piece.is_empty() {
            return Err(PutError::Store("the original is shorter than its size".to_owned()));
        }
        offset += piece.len() as u64;
        draft.write(&piece).await?;
    }
    Ok(())
}
