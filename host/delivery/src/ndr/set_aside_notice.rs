//! Notices to the administrator about messages that the spool has set aside (Event 5016): no report reaches the sender
//! of such a message, and only an operator can put the missing part back.

use std::collections::HashSet;
use std::time::Duration;

use super::NdrService;
use super::safe_text::{ascii, field, one_line, paragraph};
use host_events::Event;
use host_mail::{BodyType, Envelope, MessageId, ReversePath, Timestamp};
use host_spool::{Message, PutError, Recipient, SetAsideMessage, State};

/// Time in which messages are gathered into one notice.
const GATHER: Duration = Duration::from_secs(2);
/// Minimum time between two notices.
const PAUSE: Duration = Duration::from_secs(60);
/// Maximum number of messages that a notice describes.
const DESCRIBED: usize = 50;
/// Maximum number of messages that a notice counts.
const COUNTED: usize = 10_000;
/// Maximum number of recipients that are named for a message.
const RECIPIENTS: usize = 10;
/// Time for which a notice is tried.
const EXPIRE: Duration = Duration::from_secs(5 * 24 * 3600);

/// Tells the administrator of every message that is set aside: at the start of those that are, then of each further one.
/// Never returns.
pub(crate) async fn notify_of_set_aside(service: NdrService) {
    let mut told = HashSet::new();
    loop {
        service.spool.newly_set_aside().await;
        tokio::time::sleep(GATHER).await;
        // A notice that cannot be written is tried again.
        while service.tell(&mut told).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl NdrService {
    /// Writes one notice about the messages that are set aside and not `told`.
    async fn tell(&self, told: &mut HashSet<MessageId>) -> Result<(), PutError> {
        let spool = self.spool.clone();
        let listed = tokio::task::spawn_blocking(move || spool.list_set_aside(None, COUNTED)).await;
        let listed = listed.map_err(|error| PutError::Store(error.to_string()))??;
        let new: Vec<SetAsideMessage> = listed
            .into_iter()
            .filter(|each| !told.contains(&each.id) && !self.is_own_notice(each))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let now = Timestamp::now();
        let mut draft = self.spool.notice_draft();
        let notice = draft.id();
        draft.write(self.text(notice, now, &new).as_bytes()).await?;
        let message = Message {
            id: notice,
            received: now,
            envelope: Envelope {
                sender: ReversePath::Null,
                recipients: vec![self.administrator.clone()],
                body: BodyType::SevenBit,
                smtputf8: !self.administrator.is_ascii(),
                options: None,
            },
            client: None,
            size: draft.size(),
            state: State::Queued,
            recipients: vec![Recipient::pending(self.administrator.clone())],
            attempts: 0,
            due: now,
            expires: now.after(EXPIRE),
            notification: true,
            faults: 0,
            delay_reported: false,
            successes: Vec::new(),
        };
        draft.commit(message).await?;
        told.extend(new.iter().map(|each| each.id));
        self.events.emit(Event::SetAsideNoticeSent {
            notice: notice.to_string(),
            to: self.administrator.to_string(),
            messages: new.len() as u64,
        });
        Ok(())
    }

    /// True for a notice to the administrator, so that a disk that damages every message causes no endless notices.
    fn is_own_notice(&self, each: &SetAsideMessage) -> bool {
        let administrator = self.administrator.key();
        each.message.as_ref().is_some_and(|message| {
            let mut recipients = message.recipients.iter();
            message.notification && recipients.all(|recipient| recipient.address.key() == administrator)
        })
    }

    fn text(&self, notice: MessageId, now: Timestamp, set_aside: &[SetAsideMessage]) -> String {
        let (host, count) = (&self.hostname, set_aside.len());
        let mut out = String::new();
        field(&mut out, "From", &format!("Mail Delivery System <postmaster@{host}>"));
        out.push_str(&format!("To: <{}>\r\n", self.administrator));
        field(&mut out, "Subject", &format!("Mail set aside on {host}: {count}"));
        field(&mut out, "Date", &now.rfc5322());
        field(&mut out, "Message-ID", &format!("<{notice}@{host}>"));
        field(&mut out, "Auto-Submitted", "auto-generated");
        out.push_str("\r\n");
        paragraph(
            &mut out,
            "",
            "The spool could not read a part of accepted mail and set the mail aside. It is not delivered, and its \
             senders are not told. Put the missing part back and release the mail, or delete it:",
        );
        out.push_str("\r\n  posthouse queue list --state set-aside\r\n  posthouse queue release ID\r\n");
        for each in set_aside.iter().take(DESCRIBED) {
            out.push_str(&format!("\r\n{}\r\n", each.id));
            let mut line = |text: String| paragraph(&mut out, "  ", &ascii(&one_line(&text, 500)));
            if let Some(message) = &each.message {
                let recipients: Vec<String> = message
                    .recipients
                    .iter()
                    .take(RECIPIENTS)
                    .map(|recipient| recipient.address.to_string())
                    .collect();
                let more = match message.recipients.len().saturating_sub(RECIPIENTS) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                line(format!("from {}", message.envelope.sender));
                line(format!("to {}{more}", recipients.join(", ")));
            }
            line(each.reason.clone());
        }
        if let Some(more) = count.checked_sub(DESCRIBED).filter(|more| *more > 0) {
            out.push_str(&format!("\r\n{more} more are not listed here.\r\n"));
        }
        out
    }
}
