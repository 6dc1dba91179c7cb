//! What the machine wants to know: from the policy, the directory and the spool.

use std::time::Duration;

use super::{Driver, Interrupted, Next};
use crate::session::accept_message::ReceivedMessage;
use crate::session::machine::{AskRecipient, AskSender, Receiving, Verified, Verifying};
use crate::session::receive::{Rejection, receive};
use crate::session::replies;
use crate::session::session_permit::{ActiveTransaction, PermitDenied};
use crate::session::transport::Stream;
use crate::session::wire::Wire;
use host_contract::Verdict;
use host_events::Event;

/// A failed AUTH is answered no sooner than this.
const AUTH_DELAY: Duration = Duration::from_secs(1);

impl Driver {
    pub(super) async fn verify(&self, asking: Verifying) -> Next {
        let credentials = &asking.credentials;
        let answer = self
            .context
            .directory
            .authenticate(&credentials.user, credentials.password.reveal());
        match answer.await {
            Ok(Some(account)) => asking.result(Verified::Account(account)),
            Ok(None) => self.denied(asking, "credentials").await,
            Err(error) => {
                self.auth_failed(&asking, error.to_string());
                asking.result(Verified::Unavailable)
            }
        }
    }

    /// Guessing is slow here, and an operator sees it.
    pub(super) async fn denied(&self, asking: Verifying, reason: &str) -> Next {
        self.auth_failed(&asking, reason.to_owned());
        tokio::time::sleep(AUTH_DELAY).await;
        asking.result(Verified::Nobody)
    }

    pub(super) fn auth_failed(&self, asking: &Verifying, reason: String) {
        self.context.events.emit(Event::AuthFailed {
            session: self.id.to_string(),
            client: self.client.clone(),
            mechanism: asking.credentials.mechanism.to_owned(),
            account: asking.credentials.user.clone(),
            reason,
        });
    }

    /// Waits for the transaction's turn first, unless the connection still has the one that it began with.
    pub(super) async fn ask_sender(&mut self, asking: AskSender) -> Result<Next, Interrupted> {
        let mut active = ActiveTransaction {
            policy: self.context.policies.transaction(self.id),
            permit: std::mem::take(&mut self.permit),
        };
        let (client, sender) = (&asking.session().client, &asking.mail().sender);
        // Early: before the policy has had work with it, and before the client has sent it.
        if let Err(error) = self.context.spool.check() {
            let Rejection { reply, because } = error.into();
            self.refused(client, "sender", sender.to_string(), (&reply, &because), sender);
            return Ok(asking.answer(Verdict::Defer(reply), active));
        }
        if active.permit.is_over() {
            match self.context.session_permits.take(&mut self.stop).await {
                Ok(permit) => active.permit = permit,
                Err(PermitDenied::Stopping) => return Err(Interrupted::Stopping),
                Err(PermitDenied::TooBusy) => {
                    let Rejection { reply, because } = Rejection::new(replies::busy(), "overload");
                    self.refused(client, "sender", sender.to_string(), (&reply, &because), sender);
                    return Ok(asking.answer(Verdict::Defer(reply), active));
                }
            }
        }
        let ActiveTransaction { policy, permit } = &mut active;
        // A policy may ask the network, here as later on.
        let asked = permit.release_while(policy.sender(client, sender)).await;
        if let Verdict::Reject(reply) | Verdict::Defer(reply) = &asked.answer {
            self.refused(client, "sender", sender.to_string(), (reply, &asked.because), sender);
        }
        Ok(asking.answer(asked.answer, active))
    }

    pub(super) async fn ask_recipient(&self, mut asking: AskRecipient<ActiveTransaction>) -> Next {
        let (client, recipient) = (&asking.session.client, &asking.recipient);
        let sender = &asking.transaction.envelope.sender;
        let ActiveTransaction { policy, permit } = &mut asking.transaction.policy;
        let asked = permit.release_while(policy.recipient(client, sender, recipient)).await;
        if let Verdict::Reject(reply) | Verdict::Defer(reply) = &asked.answer {
            self.refused(
                client,
                "recipient",
                recipient.to_string(),
                (reply, &asked.because),
                sender,
            );
        }
        asking.answer(asked.answer)
    }

    /// DATA, from the 354 to the reply to the final dot.
    pub(super) async fn message<S>(
        &mut self,
        wire: &mut Wire<S>,
        mut asking: Receiving<ActiveTransaction>,
    ) -> Result<Next, Interrupted>
    where
        S: Stream,
    {
        let draft = match self.context.spool.draft() {
            Ok(draft) => draft,
            Err(error) => return Ok(self.not_taken(asking, &error.into())),
        };
        wire.say(&replies::start_mail());
        let limit = asking.session.rules.message_size;
        let eight_bit = asking.allows_eight_bit();
        let received = Box::pin(receive(self, wire, draft, limit, eight_bit));
        let draft = match asking.transaction.policy.release_while(received).await? {
            Ok(draft) => draft,
            Err(refusal) => return Ok(self.not_taken(asking, &refusal)),
        };
        let arrival = ReceivedMessage {
            context: &self.context,
            session: self.id,
            client: &asking.session.client,
            extended: asking.session.extended,
            envelope: &asking.transaction.envelope,
        };
        let ActiveTransaction { policy, permit } = &mut asking.transaction.policy;
        let reply = permit
            .release_while(Box::pin(arrival.settle(&mut **policy, draft)))
            .await;
        Ok(asking.done(reply))
    }

    /// The host itself refuses; no policy was asked.
    pub(super) fn not_taken(&self, asking: Receiving<ActiveTransaction>, refusal: &Rejection) -> Next {
        let sender = &asking.transaction.envelope.sender;
        let why = (&refusal.reply, &refusal.because);
        self.refused(&asking.session.client, "message", format!("from {sender}"), why, sender);
        asking.done(refusal.reply.clone())
    }
}
