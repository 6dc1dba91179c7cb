//! The events of refusals, emitted at several stages of a session. The first few of a session have an event each; the
//! others are summed in one event at the session's end, so that a session cannot flood the log.

use parking_lot::Mutex;

use host_contract::Reason;
use host_events::{Event, Events};
use host_mail::{Client, Reply, ReversePath, SessionId};

/// Rule of the default policy that compares originator and account.
const ACCOUNT_MATCH: &str = "account-match";
/// Number of refusals of a session with an event each.
const SINGLE_EVENTS: u64 = 5;

/// A refusal or deferral (event 5010).
pub struct RefusalFacts<'a> {
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

/// Emits the events of a session's refusals. Dropping the value emits the sum of those without an event of their own
/// (event 5096).
pub struct RefusalEvents {
    /// Session of the connection.
    pub session: SessionId,
    events: Events,
    tally: Mutex<RefusalTally>,
}

#[derive(Default)]
struct RefusalTally {
    count: u64,
    client: String,
    /// Stage and reply of the last refusal without an event of its own.
    last: Option<(&'static str, String)>,
}

impl RefusalEvents {
    /// Creates the emitter of a session without refusals.
    pub fn new(session: SessionId, events: Events) -> Self {
        Self {
            session,
            events,
            tally: Mutex::default(),
        }
    }

    /// Emits the event of a refusal, preceded by event 4151 if `originator` does not match the account; or adds the
    /// refusal to the sum.
    pub fn emit(&self, refusal: RefusalFacts<'_>, originator: &ReversePath) {
        let client = refusal.client.address.to_string();
        {
            let mut tally = self.tally.lock();
            tally.count += 1;
            if tally.count > SINGLE_EVENTS {
                tally.client = client;
                tally.last = Some((refusal.stage, refusal.reply.to_string()));
                return;
            }
        }
        if refusal.because.rule == ACCOUNT_MATCH {
            let identity = refusal.client.identity.as_ref();
            self.events.emit(Event::OriginatorMismatch {
                session: self.session.to_string(),
                client: client.clone(),
                account: identity.map(|identity| identity.account.clone()).unwrap_or_default(),
                originator: originator.to_string(),
                because: refusal.because.to_string(),
            });
        }
        self.events.emit(Event::Refused {
            session: self.session.to_string(),
            client,
            stage: refusal.stage.to_owned(),
            subject: refusal.subject,
            reply: refusal.reply.to_string(),
            because: refusal.because.to_string(),
        });
    }
}

impl Drop for RefusalEvents {
    fn drop(&mut self) {
        let tally = self.tally.get_mut();
        let Some((stage, reply)) = tally.last.take() else {
            return;
        };
        self.events.emit(Event::RefusalsSummed {
            session: self.session.to_string(),
            client: std::mem::take(&mut tally.client),
            count: tally.count - SINGLE_EVENTS,
            last_stage: stage.to_owned(),
            last_reply: reply,
        });
    }
}
