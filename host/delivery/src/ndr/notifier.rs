//! Turns a plan for notices into drafts.

use super::compose::{self, ReportFields, Returned};
use crate::ndr::notice_rules::{self, Addressed};
use host_config::NdrFault;
use host_contract::{Answered, Failure, Plan, Reason};
use host_events::{Event, Events};
use host_mail::{BodyType, Content, Envelope, HeaderBlock, Mailbox, ReversePath, Timestamp};
use host_spool::{Draft, Message, PutError, Recipient, Spool, State};

/// Bytes of the original that are copied at a time.
const CHUNK_SIZE: usize = 64 * 1024;

/// Result of planning the notices about failed recipients.
pub enum Notification {
    /// Drafts to settle together with the original. May be empty.
    Notices(Vec<(Draft, Message)>),
    /// The policy faulted, and the fault table requires the message to be frozen. Holds the reason.
    Freeze(String),
}

/// Carries out plans for notices about an original message.
pub(super) struct Notifier<'a> {
    pub spool: &'a Spool,
    pub events: &'a Events,
    pub hostname: &'a str,
    pub administrator: &'a Mailbox,
    pub on_fault: NdrFault,
    pub original: &'a Message,
    pub content: &'a dyn Content,
    pub header: &'a HeaderBlock,
}

impl Notifier<'_> {
    /// Carries out the policy's answer about a failure. Without an answer, the standard plan applies, or after a fault
    /// the configured reaction `on_fault`.
    pub async fn carry_out(
        &self,
        failure: &Failure,
        answered: Answered<Option<Plan>>,
    ) -> Result<Notification, PutError> {
        let because = &answered.because;
        let plan = match (answered.answer, self.on_fault) {
            (Some(plan), _) if plan.is_empty() => {
                self.emit_no_notice(failure, because);
                plan
            }
            (Some(plan), _) => plan,
            (None, _) if !answered.fault => notice_rules::standard_plan(failure), // no module had an opinion
            (None, NdrFault::StandardReport) => {
                self.emit_plan_fault(because, "the host's standard report");
                notice_rules::standard_plan(failure)
            }
            (None, NdrFault::Freeze) => {
                self.emit_plan_fault(because, "the message is frozen");
                return Ok(Notification::Freeze(format!(
                    "no notification could be planned: {because}"
                )));
            }
        };
        let (addressed, dropped) = notice_rules::address(plan, failure, self.administrator);
        for drop in dropped {
            self.events.emit(Event::NotificationDropped {
                message: self.original.id.to_string(),
                to: drop.to,
                reason: drop.reason.to_owned(),
            });
        }
        let mut notices = Vec::with_capacity(addressed.len());
        for notice in addressed {
            let (draft, message) = self.write(failure, &notice).await?;
            self.events.emit(Event::NoticeSent {
                message: self.original.id.to_string(),
                notice: message.id.to_string(),
                to: notice.to.to_string(),
                about: failed_addresses(failure),
                class: failure.class.clone(),
                because: because.to_string(),
            });
            notices.push((draft, message));
        }
        Ok(Notification::Notices(notices))
    }

    async fn write(&self, failure: &Failure, notice: &Addressed) -> Result<(Draft, Message), PutError> {
        let now = Timestamp::now();
        let mut draft = self.spool.notice_draft();
        let (returned, truncation) = compose::returned(notice.content, self.content, self.header)
            .map_err(|error| PutError::Store(error.to_string()))?;
        let report = ReportFields {
            hostname: self.hostname,
            id: draft.id(),
            boundary: format!("={:016x}={}", rand::random::<u64>(), draft.id()),
            now,
            to: &notice.to,
            original: self.original,
            header: self.header,
            failure,
            remark: notice.remark.as_deref(),
            returned: &returned,
            truncation,
        };
        let composed = compose::compose(&report);
        draft.write(composed.before.as_bytes()).await?;
        match &returned {
            Returned::Nothing => {}
            Returned::Headers { bytes, .. } => draft.write(bytes).await?,
            Returned::Full { .. } => self.copy_original(&mut draft).await?,
        }
        draft.write(composed.after.as_bytes()).await?;

        let body = match composed.eight_bit {
            true => BodyType::EightBitMime,
            false => BodyType::SevenBit,
        };
        let message = Message {
            id: draft.id(),
            received: now,
            envelope: Envelope {
                sender: ReversePath::Null,
                recipients: vec![notice.to.clone()],
                body,
                smtputf8: !notice.to.is_ascii(),
            },
            client: None,
            size: draft.size(),
            state: State::Queued,
            recipients: vec![Recipient::pending(notice.to.clone())],
            attempts: 0,
            due: now,
            expires: now.after(self.original.received.until(self.original.expires)),
            notification: true,
            faults: 0,
        };
        Ok((draft, message))
    }

    async fn copy_original(&self, draft: &mut Draft) -> Result<(), PutError> {
        let mut offset = 0;
        while offset < self.content.size() {
            let piece = self
                .content
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

    fn emit_no_notice(&self, failure: &Failure, because: &Reason) {
        self.events.emit(Event::NobodyTold {
            message: self.original.id.to_string(),
            about: failed_addresses(failure),
            class: failure.class.clone(),
            because: because.to_string(),
        });
    }

    fn emit_plan_fault(&self, because: &Reason, instead: &str) {
        self.events.emit(Event::NdrNotMade {
            message: self.original.id.to_string(),
            error: because.to_string(),
            instead: instead.to_owned(),
        });
    }
}

fn failed_addresses(failure: &Failure) -> Vec<String> {
    failure.failed.iter().map(|failed| failed.address.to_string()).collect()
}
