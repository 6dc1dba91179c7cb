//! The content of a report, shared by all parts of the report.

use super::returned_part::{Returned, Truncation};
use host_contract::Failure;
use host_mail::{HeaderBlock, Mailbox, MessageId, Timestamp};
use host_spool::Message;

/// Everything that a report states.
pub(crate) struct ReportFields<'a> {
    pub hostname: &'a str,
    pub id: MessageId,
    /// MIME boundary. Random, so that the boundary does not occur in the original.
    pub boundary: String,
    pub now: Timestamp,
    pub to: &'a Mailbox,
    pub original: &'a Message,
    pub header: &'a HeaderBlock,
    pub failure: &'a Failure,
    pub remark: Option<&'a str>,
    pub returned: &'a Returned,
    pub truncation: Option<Truncation>,
}

impl ReportFields<'_> {
    /// True if an address is not ASCII, so that the report needs the forms of RFC 6533.
    pub(super) fn is_global(&self) -> bool {
        self.failure.failed.iter().any(|failed| !failed.address.is_ascii())
    }
}
