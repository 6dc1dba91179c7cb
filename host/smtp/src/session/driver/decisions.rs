//! The machine's questions to the policy and the spool.

use super::{Driver, NextStep};
use crate::session::accept_message::ReceivedMessage;
use crate::session::active_transaction::ActiveTransaction;
use crate::session::chunked_message::{ChunkedMessage, CompleteChunks};
use crate::session::driver::input::Interrupted;
use crate::session::machine::{AskRecipient, AskSender, Receiving, ReceivingChunk};
use crate::session::receive::{MessageReader, Rejection};
use crate::session::replies;
use crate::session::session_permit::PermitDenied;
use crate::session::transport::Stream;
use crate::session::wire::Wire;
use host_contract::Verdict;
use host_events::Event;
use host_mail::BodyType;
use host_spool::Draft;

impl Driver {
    /// Asks the policy about the sender. The transaction takes over the connection's permit, or waits for a new permit
    /// if the connection has none.
    pub(super) async fn ask_sender(&mut self, mut pending: AskSender) -> Result<NextStep, Interrupted> {
        self.rewrite_sender(&mut pending);
        let mut active = ActiveTransaction {
            policy: self.context.policies.transaction(self.peer.session),
            permit: std::mem::take(&mut self.permit),
            space: None,
            chunks: None,
        };
        let (client, sender) = (&pending.session().client, &pending.mail().sender);
        // Room is reserved first, to save the work of the policy and the client's transmission.
        match self.context.spool.reserve(pending.mail().size) {
            Ok(space) => active.space = Some(space),
            Err(error) => {
                let Rejection { reply, because } = error.into();
                self.refused(client, "sender", sender.to_string(), (&reply, &because), sender);
                return Ok(pending.answer(Verdict::Defer(reply), active));
            }
        }
        if active.permit.is_released() {
            match self.context.session_permits.acquire(&mut self.peer.stop).await {
                Ok(permit) => active.permit = permit,
                Err(PermitDenied::Stopping) => return Err(Interrupted::Stopping),
                Err(PermitDenied::TooBusy) => {
                    let Rejection { reply, because } = Rejection::new(replies::busy(), "overload");
                    self.refused(client, "sender", sender.to_string(), (&reply, &because), sender);
                    return Ok(pending.answer(Verdict::Defer(reply), active));
                }
            }
        }
        let ActiveTransaction { policy, permit, .. } = &mut active;
        // A policy may wait for the network.
        let answered = permit.release_while(policy.sender(client, sender)).await;
        if let Verdict::Reject(reply) | Verdict::Defer(reply) = &answered.answer {
            self.refused(client, "sender", sender.to_string(), (reply, &answered.because), sender);
        }
        Ok(pending.answer(answered.answer, active))
    }

    /// Replaces the reverse-path by the rules of the directory, if one matches, with an event.
    fn rewrite_sender(&self, pending: &mut AskSender) {
        let sender = pending.mail().sender.mailbox();
        let Some((sender, new)) = sender.and_then(|from| Some((from, self.context.directory.rewritten_sender(from)?)))
        else {
            return;
        };
        self.context.events.emit(Event::SenderRewritten {
            session: self.peer.session.to_string(),
            from: sender.to_string(),
            to: new.to_string(),
        });
        pending.replace_sender(new);
    }

    pub(super) async fn ask_recipient(&self, mut pending: AskRecipient<ActiveTransaction>) -> NextStep {
        let (client, recipient) = (&pending.session.client, &pending.recipient);
        let sender = &pending.transaction.envelope.sender;
        let ActiveTransaction { policy, permit, .. } = &mut pending.transaction.active;
        let answered = permit.release_while(policy.recipient(client, sender, recipient)).await;
        if let Verdict::Reject(reply) | Verdict::Defer(reply) = &answered.answer {
            self.refused(
                client,
                "recipient",
                recipient.to_string(),
                (reply, &answered.because),
                sender,
            );
        }
        pending.answer(answered.answer)
    }

    /// Performs DATA, from the 354 to the reply to the final dot.
    pub(super) async fn receive_message<S>(
        &mut self,
        wire: &mut Wire<S>,
        mut pending: Receiving<ActiveTransaction>,
    ) -> Result<NextStep, Interrupted>
    where
        S: Stream,
    {
        let draft = match self.draft(&mut pending.transaction.active) {
            Ok(draft) => draft,
            Err(refusal) => return Ok(self.refuse_message(pending, &refusal)),
        };
        wire.queue_reply(&replies::start_mail());
        let reader = MessageReader {
            wire,
            peer: &self.peer,
            limit: pending.session.rules.message_size,
            eight_bit: pending.allows_eight_bit(),
        };
        let received = Box::pin(reader.read(draft));
        let (draft, eight_bit) = match pending.transaction.active.release_while(received).await? {
            Ok(received) => received,
            Err(refusal) => return Ok(self.refuse_message(pending, &refusal)),
        };
        if eight_bit {
            pending.note_body(BodyType::EightBitMime);
        }
        Ok(self.settle_message(pending, draft).await)
    }

    /// Performs BDAT up to its reply, which for the last chunk is the reply to the message.
    pub(super) async fn receive_chunk<S>(
        &mut self,
        wire: &mut Wire<S>,
        mut pending: ReceivingChunk<ActiveTransaction>,
    ) -> Result<NextStep, Interrupted>
    where
        S: Stream,
    {
        let active = &mut pending.transaction.active;
        let mut chunks = match active.chunks.take() {
            Some(chunks) => chunks,
            None => Box::new(ChunkedMessage::new(self.draft(active))),
        };
        let limit = pending.session.rules.message_size;
        let read = chunks.read(wire, &self.peer, pending.size, limit);
        active.release_while(read).await?;
        if pending.last {
            let mut pending = pending.complete();
            let declared = pending.transaction.envelope.body;
            return Ok(match chunks.finish(declared, pending.allows_eight_bit()).await {
                Ok(CompleteChunks { draft, body }) => {
                    pending.note_body(body);
                    self.settle_message(pending, draft).await
                }
                Err(refusal) => self.refuse_message(pending, &refusal),
            });
        }
        let Some(refusal) = chunks.refusal() else {
            pending.transaction.active.chunks = Some(chunks);
            return Ok(pending.received());
        };
        let sender = &pending.transaction.envelope.sender;
        let (subject, why) = (format!("from {sender}"), (&refusal.reply, &refusal.because));
        self.refused(&pending.session.client, "message", subject, why, sender);
        Ok(pending.refused(refusal.reply.clone()))
    }

    /// Begins the draft of a message in the room that MAIL has reserved.
    fn draft(&self, active: &mut ActiveTransaction) -> Result<Draft, Rejection> {
        let spool = &self.context.spool;
        let draft = match active.space.take() {
            Some(space) => spool.draft_in(space),
            None => spool.draft(),
        };
        Ok(draft?)
    }

    /// Decides about a complete message.
    async fn settle_message(&self, mut pending: Receiving<ActiveTransaction>, draft: Draft) -> NextStep {
        let message = ReceivedMessage {
            context: &self.context,
            refusals: &self.refusals,
            client: &pending.session.client,
            extended: pending.session.extended,
            forwarded: pending.transaction.forwarded.as_deref(),
            envelope: &pending.transaction.envelope,
        };
        let ActiveTransaction { policy, permit, .. } = &mut pending.transaction.active;
        let reply = permit
            .release_while(Box::pin(message.settle(&mut **policy, draft)))
            .await;
        pending.done(reply)
    }

    /// Refuses a message by a rule of the host, without a question to the policy.
    pub(super) fn refuse_message(&self, pending: Receiving<ActiveTransaction>, refusal: &Rejection) -> NextStep {
        let sender = &pending.transaction.envelope.sender;
        let why = (&refusal.reply, &refusal.because);
        self.refused(
            &pending.session.client,
            "message",
            format!("from {sender}"),
            why,
            sender,
        );
        pending.done(refusal.reply.clone())
    }
}
