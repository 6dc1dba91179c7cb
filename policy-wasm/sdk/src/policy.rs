//! What an author implements.

use crate::client::{Client, Envelope, ReversePath};
use crate::decision::{Admission, Decision, Disposition, Plan, Verdict};
use crate::failure::Failure;
use crate::host::Host;
use crate::message::Message;
use crate::rule::Description;
use crate::settings::{Problem, Settings};

/// A policy as a whole: what it is and what its operator decides. See the crate's page for one.
///
/// A value of it lives as long as one unit of work (a connection, a transaction, a notification) or
/// less: keep nothing in it but what the settings say.
pub trait Policy: Sized + 'static {
    /// Who it is and which rules it can cite.
    fn describe() -> Description;

    /// The policy with its operator's settings; [`Settings::read`] does all of it for a type that serde
    /// can read.
    ///
    /// # Errors
    /// Everything that is wrong with the settings. The policy is not activated then.
    fn configure(settings: Settings<'_>) -> Result<Self, Vec<Problem>>;
}

/// Which hosts connect on other terms.
pub trait Exemption: Policy {
    /// Asked once per connection, before the banner. There is no `helo` or `identity` yet. On a fault the
    /// client is exempt from nothing.
    ///
    /// An answer that needed nothing of `host` is given again to connections that differ in nothing but
    /// `client.port`, without asking.
    fn admit(&self, client: &Client, host: &Host) -> Decision<Admission> {
        let _ = (client, host);
        Decision::pass()
    }
}

/// Who may send what to whom.
pub trait Homing: Policy {
    /// Asked at MAIL.
    fn sender(&self, client: &Client, sender: &ReversePath, host: &Host) -> Decision<Verdict> {
        let _ = (client, sender, host);
        Decision::pass()
    }

    /// Asked at each RCPT. Nothing is looked up yet.
    fn recipient(&self, client: &Client, sender: &ReversePath, recipient: &str, host: &Host) -> Decision<Verdict> {
        let _ = (client, sender, recipient, host);
        Decision::pass()
    }

    /// Asked after the final dot, before its reply. The message is complete and within the size limit.
    fn message(
        &self,
        client: &Client,
        envelope: &Envelope,
        message: &Message<'_>,
        host: &Host,
    ) -> Decision<Disposition> {
        let _ = (client, envelope, message, host);
        Decision::pass()
    }
}

/// Who is told when mail cannot be delivered.
pub trait Ndr: Policy {
    /// Asked when recipients of a message have failed for good; never about a notification. The first
    /// module with this role decides. On a fault the host sends its own standard report.
    fn plan(&self, failure: &Failure, host: &Host) -> Decision<Plan>;
}
