//! Acceptance of a complete message: checks, the policy's disposition, and the spool write that a 250 confirms.

use std::sync::Arc;
use std::time::Duration;

use super::completion::{CompletedContent, Completion, Submitted, complete};
use super::context::SessionContext;
use super::edits::{self, Edited};
use super::receive::Rejection;
use super::refusal_events::{RefusalEvents, RefusalFacts};
use super::replies;
use host_contract::{Answered, Disposition, Reason, Transaction};
use host_events::Event;
use host_mail::{
    Client, Content, DeliverByMode, Envelope, HeaderBlock, Mailbox, MessageId, Received, Redirected, Reply, Timestamp,
    hop_count, redirected, redirected_field,
};
use host_spool::{Draft, Message, PutError, Recipient, State};

/// Age that each step of a priority counts for.
const PRIORITY_STEP: Duration = Duration::from_secs(3600);
/// Number of passes at which a message whose recipients a policy changed counts as a loop.
const MAX_PASSES: usize = 4;

/// A write that has begun, and the action and reason of a quarantine.
type BegunPut<F> = (F, Option<(String, Reason)>);

/// A complete message for which no host has taken responsibility yet.
pub struct ReceivedMessage<'a> {
    /// Services of the session.
    pub context: &'a SessionContext,
    /// Session that received the message, with the events of its refusals.
    pub refusals: &'a RefusalEvents,
    /// Client that sent the message.
    pub client: &'a Client,
    /// True if the client used EHLO.
    pub extended: bool,
    /// Client behind a front end, as XFORWARD named it.
    pub forwarded: Option<&'a str>,
    /// Envelope of the message.
    pub envelope: &'a Envelope,
}

impl ReceivedMessage<'_> {
    /// Returns the reply to the final dot. Without a 2xx reply no message remains in the spool.
    pub async fn settle(&self, policy: &mut dyn Transaction, mut draft: Draft) -> Reply {
        let id = draft.id();
        let content = draft.content();
        let header = match self.check(id, &*content) {
            Ok(header) => header,
            Err(refusal) => return self.refused(id, refusal),
        };
        let (content, completed) = match self.complete(id, content, header) {
            Ok(completed) => completed,
            Err(refusal) => return self.refused(id, refusal),
        };
        let answered = policy.message(id, self.client, self.envelope, content).await;
        self.apply(answered, draft, &completed).await
    }

    /// Completes a submitted message. Returns the message as the policy sees it, with its header.
    fn complete(
        &self,
        id: MessageId,
        content: Arc<dyn Content>,
        header: HeaderBlock,
    ) -> Result<(Arc<dyn Content>, CompletedHeader), Rejection> {
        let config = &self.context.config;
        let submitted = Submitted {
            client: self.client,
            sender: &self.envelope.sender,
            hostname: &config.hostname,
            id,
            at: Timestamp::now(),
        };
        let Some(completion) = complete(&header, &submitted, &config.submission)? else {
            return Ok((content, header.into()));
        };
        let content = CompletedContent {
            header: completion.header.clone(),
            skip: completion.skip,
            received: content,
        };
        let completed = CompletedHeader {
            header: read_header(&content)?,
            completion: Some(completion),
        };
        Ok((Arc::new(content), completed))
    }

    /// Applies the policy's disposition and returns the reply. The future, which is small, waits for the spool alone.
    pub fn apply(
        &self,
        answered: Answered<Disposition>,
        draft: Draft,
        completed: &CompletedHeader,
    ) -> impl Future<Output = Reply> + Send {
        let id = draft.id();
        let begun = self.begin_put(answered, draft, completed);
        async move {
            let done = match begun {
                Ok(Some((put, quarantine))) => put.await.map_err(Rejection::from).map(|()| quarantine),
                Ok(None) => Ok(None),
                Err(refusal) => Err(refusal),
            };
            match done {
                Ok(quarantine) => {
                    if let Some((action, because)) = quarantine {
                        self.filtered(Some(id), action, &because);
                    }
                    replies::queued(id)
                }
                Err(refusal) => self.refused(id, refusal),
            }
        }
    }

    /// Checks the host's own requirements: a sound header, no policy loop, and the limit of hops.
    fn check(&self, id: MessageId, content: &dyn Content) -> Result<HeaderBlock, Rejection> {
        let header = read_header(content)?;
        self.check_redirections(id, &header)?;
        let (hops, limit) = (hop_count(&header), self.context.config.limits.hops);
        if hops <= limit {
            return Ok(header);
        }
        let (message, hops, limit) = (id.to_string(), hops as u64, limit as u64);
        self.context
            .events
            .emit(Event::HopCountExceeded { message, hops, limit });
        Err(Rejection::new(replies::loop_detected(), "hops"))
    }

    /// Detects a policy loop. A message whose recipients a policy of this host changed may pass here again, through a
    /// mailing list, a forwarding or another host, but not endlessly.
    fn check_redirections(&self, id: MessageId, header: &HeaderBlock) -> Result<(), Rejection> {
        match redirected(header, &self.context.config.hostname) {
            Some(Redirected { policy, passes }) if passes >= MAX_PASSES => {
                let (message, passes) = (id.to_string(), passes as u64);
                self.context.events.emit(Event::PolicyLoop {
                    message,
                    policy,
                    passes,
                });
                Err(Rejection::new(replies::loop_detected(), "policy-loop"))
            }
            _ => Ok(()),
        }
    }

    /// Begins to write the message as the disposition says. Returns the write, with action and reason if the message is
    /// quarantined; `None` for a message that is discarded.
    fn begin_put(
        &self,
        answered: Answered<Disposition>,
        draft: Draft,
        completed: &CompletedHeader,
    ) -> Result<Option<BegunPut<impl Future<Output = Result<(), PutError>> + Send + use<>>>, Rejection> {
        let because = answered.because;
        let (edits, state) = match answered.answer {
            Disposition::Reject(reply) | Disposition::Defer(reply) => return Err(Rejection { reply, because }),
            Disposition::Discard => {
                self.filtered(None, "discarded".to_owned(), &because);
                return Ok(None);
            }
            Disposition::Accept(edits) => (edits, State::Queued),
            Disposition::Fail(class) => (
                Vec::new(),
                State::Failing {
                    class,
                    because: because.clone(),
                },
            ),
            Disposition::Quarantine(folder) => (
                Vec::new(),
                State::Quarantined {
                    folder,
                    because: because.clone(),
                },
            ),
        };
        let mut edited = edits::apply(&edits, self.envelope, &completed.header);
        if let Some(completion) = &completed.completion {
            edited.replace_header(&completion.header, completion.skip);
        }
        if edited.recipients.is_empty() {
            self.filtered(None, "discarded: no recipient left".to_owned(), &because);
            return Ok(None);
        }
        let quarantine = match &state {
            State::Quarantined { folder, .. } => Some(format!("quarantined in {folder}")),
            _ => None,
        };
        let put = self.put(draft, edited, state, (&because, completed.completion.as_ref()));
        Ok(Some((put, quarantine.map(|action| (action, because)))))
    }

    /// Writes the message to the spool. The future ends when the message is on disk.
    fn put(
        &self,
        mut draft: Draft,
        edited: Edited,
        state: State,
        (because, completion): (&Reason, Option<&Completion>),
    ) -> impl Future<Output = Result<(), PutError>> + Send + use<> {
        let id = draft.id();
        let received = Timestamp::now();
        let mut prefix = edited.added;
        prefix.extend(self.trace(id, received).into_bytes());
        if edited.redirected {
            prefix.extend(redirected_field(&self.context.config.hostname, &because.policy).into_bytes());
        }
        prefix.extend_from_slice(&edited.prefix);
        let size = (draft.size() + prefix.len() as u64).saturating_sub(edited.skip);
        draft.set_prefix(prefix, edited.skip);
        let recipients: Vec<String> = edited.recipients.iter().map(ToString::to_string).collect();
        let (due, expires) = times(self.envelope, received, self.context.config.delivery.expire);
        let message = Message {
            id,
            received,
            envelope: self.envelope.clone(),
            client: Some(self.client.clone()),
            size,
            state,
            recipients: edited.recipients.into_iter().map(|each| self.recipient(each)).collect(),
            attempts: 0,
            due,
            expires,
            notification: false,
            faults: 0,
            delay_reported: false,
            successes: Vec::new(),
        };
        let accepted = Event::MessageAccepted {
            message: id.to_string(),
            session: self.refusals.session.to_string(),
            client: match self.forwarded {
                Some(forwarded) => format!("{} for {forwarded}", self.client.address),
                None => self.client.address.to_string(),
            },
            account: self.client.identity.as_ref().map(|identity| identity.account.clone()),
            sender: self.envelope.sender.to_string(),
            recipients,
            size,
            because: because.to_string(),
        };
        // Boxed: few messages are completed, and the event would double what moves to the writer.
        let completed = completion.map(|completion| Box::new(self.completed(id, completion)));
        let events = self.context.events.clone();
        // Before the message can be claimed: its other events follow these.
        let emit = move || {
            events.emit(accepted);
            completed.into_iter().for_each(|completed| events.emit(*completed));
        };
        draft.commit_with(message, emit)
    }

    fn completed(&self, id: MessageId, completion: &Completion) -> Event {
        Event::MessageCompleted {
            message: id.to_string(),
            client: self.client.address.to_string(),
            account: self.client.identity.as_ref().map(|identity| identity.account.clone()),
            added: completion.added.clone(),
            removed: completion.removed.clone(),
        }
    }

    /// Creates the record of a recipient, with the parameters that the client gave for the address.
    fn recipient(&self, address: Mailbox) -> Recipient {
        let dsn = self.envelope.recipient_dsn(&address).cloned().map(Box::new);
        Recipient {
            dsn,
            ..Recipient::pending(address)
        }
    }

    /// Returns the trace field (RFC 5321 section 4.4). A recipient is named only if there is a single recipient, since
    /// other recipients must not be disclosed (section 7.6).
    fn trace(&self, id: MessageId, at: Timestamp) -> String {
        let recipient: Option<&Mailbox> = match self.envelope.recipients.as_slice() {
            [only] => Some(only),
            _ => None,
        };
        let received = Received {
            client: self.client,
            by: &self.context.config.hostname,
            id,
            extended: self.extended,
            utf8: self.envelope.smtputf8,
            recipient,
            at,
        };
        received.field()
    }

    fn filtered(&self, message: Option<MessageId>, action: String, because: &Reason) {
        self.context.events.emit(Event::MessageFiltered {
            session: self.refusals.session.to_string(),
            message: message.map(|id| id.to_string()),
            sender: self.envelope.sender.to_string(),
            action,
            because: because.to_string(),
        });
    }

    fn refused(&self, id: MessageId, refusal: Rejection) -> Reply {
        let event = RefusalFacts {
            client: self.client,
            stage: "message",
            subject: format!("{id} from {}", self.envelope.sender),
            reply: &refusal.reply,
            because: &refusal.because,
        };
        self.refusals.emit(event, &self.envelope.sender);
        refusal.reply
    }
}

/// Returns the time of the first attempt, and the end of the delivery time. A held message (RFC 4865) is due at its
/// release; one that is to be returned in time (RFC 2852) expires then. A priority above 0 (RFC 6710) counts as age, by an
/// hour for each step.
fn times(envelope: &Envelope, received: Timestamp, lifetime: Duration) -> (Timestamp, Timestamp) {
    let Some(options) = &envelope.options else {
        return (received, received.after(lifetime));
    };
    let release = options.hold.map_or(received, |hold| hold.release(received));
    let expires = release.after(lifetime);
    let expires = match options.deliver_by {
        Some(by) if by.mode == DeliverByMode::Return => by.deadline(received).min(expires),
        _ => expires,
    };
    let urgency = u64::try_from(options.priority.unwrap_or(0)).unwrap_or(0) * PRIORITY_STEP.as_millis() as u64;
    let due = match release > received {
        true => release,
        false => Timestamp(received.0.saturating_sub(urgency)),
    };
    (due, expires)
}

/// Header of a message, after its completion if anything was missing.
pub struct CompletedHeader {
    /// Header as the policy sees it.
    pub header: HeaderBlock,
    /// Replacement of the received header; `None` if nothing was missing.
    pub completion: Option<Completion>,
}

impl From<HeaderBlock> for CompletedHeader {
    fn from(header: HeaderBlock) -> Self {
        Self {
            header,
            completion: None,
        }
    }
}

/// Reads the header. Fails if the header is longer than the host reads, since a field beyond the bound could bypass a
/// policy or the loop check; or if the header begins with a folded line, which would become part of the trace field
/// that the host adds before the header.
fn read_header(content: &dyn Content) -> Result<HeaderBlock, Rejection> {
    let failed = |error: std::io::Error| Rejection {
        reply: replies::system_error(),
        because: Reason {
            entry: Some(error.to_string()),
            ..Reason::host("spool")
        },
    };
    let header = HeaderBlock::read(content).map_err(failed)?;
    let block = header.as_bytes();
    let end = block.len() as u64;
    if end < content.size() && content.read(end, 2).map_err(failed)? != b"\r\n"[..] {
        return Err(Rejection::new(replies::header_too_big(), "header-size"));
    }
    if matches!(block.first(), Some(b' ' | b'\t')) {
        return Err(Rejection::new(replies::begins_folded(), "folded-first-line"));
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_mail::InMemory;

    fn code(message: String) -> Result<usize, u16> {
        read_header(&InMemory(message.into()))
            .map(|header| header.fields().count())
            .map_err(|refusal| refusal.reply.code)
    }

    #[test]
    fn refuses_a_header_longer_than_the_bound() {
        let long = |fields: usize| format!("X-Field: {}\r\n", "v".repeat(900)).repeat(fields);
        assert_eq!(code(String::new()), Ok(0));
        assert_eq!(code("\r\nbody\r\n".into()), Ok(0));
        assert_eq!(code("A: b\r\n".into()), Ok(1));
        assert_eq!(code("A: b\r\n\r\nbody\r\n".into()), Ok(1));
        assert_eq!(
            code(format!("{}\r\n{}", long(200), "body\r\n".repeat(100_000))),
            Ok(200)
        );
        assert_eq!(code(long(400)), Err(552));
        assert_eq!(code(format!("{}\r\nbody\r\n", long(400))), Err(552));
    }

    #[test]
    fn refuses_a_folded_first_line() {
        assert_eq!(code(" a: b\r\n\r\n".into()), Err(554));
        assert_eq!(code("\tFrom: forged\r\n".into()), Err(554));
    }
}
