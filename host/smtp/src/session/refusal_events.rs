//! The events of a refusal, emitted at several stages of a session.

use host_contract::Reason;
use host_events::{Event, Events};
use host_mail::{Client, Reply, ReversePath, SessionId};

/// Rule of the default policy that compares originator and account.
const ACCOUNT_MATCH: &str = "account-match";

/// A refusal or deferral (event 5010).
pub struct RefusalEvent<'a> {
    /// Session of the connection.
    pub session: SessionId,
    /// Peer of the connection.
    pub client: &'a Client,
    /// Stage: `admit`, `sender`, `recipient` or `message`.
    pub stage: &'static str,
    /// Refused address, sender, recipient or message.
    pub subject: String,
    /// Reply to the client.
    pub reply: &'a Reply,
    /// Reason of the decision.
    pub because: &'a Reason,
}

impl RefusalEvent<'_> {
    /// Emits the event, preceded by event 4151 if `originator` does not match the account.
    pub fn emit(self, events: &Events, originator: &ReversePath) {
        if self.because.rule == ACCOUNT_MATCH {
            let identity = self.client.identity.as_ref();
            events.emit(Event::OriginatorMismatch {
                session: self.session.to_string(),
                client: self.client.address.to_string(),
                account: identity.map(|identity| identity.account.clone()).unwrap_or_default(),
                originator: originator.to_string(),
                because: self.because.to_string(),
            });
        }
        events.emit(Event::Refused {
            session: self.session.to_string(),
            client: self.client.address.to_string(),
            stage: self.stage.to_owned(),
            subject: self.subject,
            reply: self.reply.to_string(),
            because: self.because.to_string(),
        });
    }
}
