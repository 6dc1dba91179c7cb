//! Traits that an author implements: the policy and its roles.

use crate::answers::{Admission, Decision, Disposition, Plan, Verdict};
use crate::client_and_envelope::{Client, Envelope, ReversePath};
use crate::failure::Failure;
use crate::host::Host;
use crate::message_reader::Message;
use crate::rule::Description;
use crate::settings::{Problem, Settings};

/// A policy: its description and its settings. The crate's page has an example.
///
/// A value lives at most as long as a unit of work (a connection, a transaction, a notification): keep only settings in
/// the value.
pub trait Policy: Sized + 'static {
    /// Returns name, version and the rules that decisions can cite.
    fn describe() -> Description;

    /// Makes the policy with an operator's settings. [`Settings::read`] is a complete implementation for a type that
    /// serde can deserialize.
    ///
    /// # Errors
    /// All problems of the settings. A policy with problems is not activated.
    fn configure(settings: Settings<'_>) -> Result<Self, Vec<Problem>>;
}

/// Role that decides about connections and exemptions.
pub trait Exemption: Policy {
    /// Answers a connection before the banner, once per connection. `client.helo` and `client.identity` are `None`. On
    /// a fault the client has no exemptions.
    ///
    /// The host may reuse an answer that was given without questions to `host`, for connections that differ only in
    /// `client.port`.
    fn admit(&self, client: &Client, host: &Host) -> Decision<Admission> {
        let _ = (client, host);
        Decision::pass()
    }
}

/// Role that decides about senders, recipients and messages.
pub trait Homing: Policy {
    /// Answers MAIL.
    fn sender(&self, client: &Client, sender: &ReversePath, host: &Host) -> Decision<Verdict> {
        let _ = (client, sender, host);
        Decision::pass()
    }

    /// Answers each RCPT. The recipient has not been looked up in the directory.
    fn recipient(&self, client: &Client, sender: &ReversePath, recipient: &str, host: &Host) -> Decision<Verdict> {
        let _ = (client, sender, recipient, host);
        Decision::pass()
    }

    /// Answers the end of DATA before the reply. The message is complete and within the size limit.
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

/// Role that decides about notices of failed deliveries.
pub trait Ndr: Policy {
    /// Plans the notices when recipients of a message have failed permanently; not called for a failed notification.
    /// The first module with this role decides. On a fault the host sends the standard report.
    fn plan(&self, failure: &Failure, host: &Host) -> Decision<Plan>;
}
