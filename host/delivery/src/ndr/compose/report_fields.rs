//! The content of a report, shared by all parts of the report.

use super::returned_part::{Returned, Truncation};
use crate::ndr::disclosure::{ReportReader, ReportedRecipient};
use host_mail::{HeaderBlock, Mailbox, MessageId, Timestamp};
use host_spool::Message;

/// Event that a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// The recipients were given up.
    Failed,
    /// The recipients do not have the message yet; this host tries until `until`.
    Delayed { until: Timestamp },
    /// The recipients have the message, or a host without DSN has it for them; the sender wants to learn of that.
    Succeeded,
}

/// Everything that a report states.
pub(crate) struct ReportFields<'a> {
    pub hostname: &'a str,
    pub id: MessageId,
    /// MIME boundary. Random, so that the boundary does not occur in the original.
    pub boundary: String,
    pub now: Timestamp,
    pub to: &'a Mailbox,
    pub reader: ReportReader,
    pub occasion: Occasion,
    pub original: &'a Message,
    /// Header of the original as its reader may see it.
    pub header: &'a HeaderBlock,
    pub recipients: &'a [ReportedRecipient],
    pub remarks: &'a [String],
    pub returned: &'a Returned,
    pub truncation: Option<Truncation>,
}

impl ReportFields<'_> {
    /// True if the report states an address beyond ASCII in the form of RFC 6533. Only a report to such an address does:
    /// every host on its way has SMTPUTF8, and with it 8BITMIME (RFC 6531 section 3.1). A report to an ASCII address
    /// may meet any host and is 7bit throughout.
    pub(super) fn is_global(&self) -> bool {
        !self.to.is_ascii() && self.recipients.iter().any(|each| !each.address.is_ascii())
    }
}
