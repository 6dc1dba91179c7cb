//! Events that more than one place of a session tells.

use host_contract::Reason;
use host_events::{Event, Events};
use host_mail::{Client, Reply, ReversePath, SessionId};

/// The rule of the default policy that compares originator and account.
const ACCOUNT_MATCH: &str = "account-match";

/// Something was refused or deferred (5010).
pub struct RefusalEvent<'a> {
    /// The connection.
    pub session: SessionId,
    /// Its peer.
    pub client: &'a Client,
    /// `admit`, `sender`, `recipient` or `message`.
    pub stage: &'static str,
    /// What was refused.
    pub subject: String,
    /// What the client was told.
    pub reply: &'a Reply,
    /// Why.
    pub because: &'a Reason,
}

impl RefusalEvent<'_> {
    /// Tells the operator; also of an originator that does not match the account (4151).
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
