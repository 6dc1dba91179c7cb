//! Failed deliveries.

use crate::client_and_envelope::{Envelope, Identity};
use crate::smtp_reply::Reply;

/// A recipient to which a message cannot be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRecipient {
    /// The address as written by the sender.
    pub address: String,
    /// The final reply, from this host or from a remote host.
    pub reply: Reply,
    /// The remote host that gave the reply; `None` for a reply of this host.
    pub remote: Option<String>,
}

/// A message that cannot be delivered to some of its recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Class of the failure, such as `address-not-found`. Expect unknown values.
    pub class: String,
    /// Envelope of the original message.
    pub envelope: Envelope,
    /// Recipients that failed with this class; at least one.
    pub failed: Vec<FailedRecipient>,
    /// Identity of the submitter; `None` for mail from exempt hosts, for mail from outside, and for mail that the host
    /// itself made.
    pub identity: Option<Identity>,
    /// Address of the client that submitted the message; `None` for mail that the host itself made.
    pub client_address: Option<String>,
    /// Exemptions of the client that submitted the message.
    pub exemptions: Vec<String>,
    /// True if the original is automatic mail, by a null reverse-path or by its header (RFC 3834).
    pub automatic: bool,
    /// Header fields of the original, name and value, unfolded, bounded in number and length.
    pub headers: Vec<(String, String)>,
}

impl Failure {
    /// Returns the values of the original's fields with this name in order, ignoring case.
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let fields = self
            .headers
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str())
    }
}
