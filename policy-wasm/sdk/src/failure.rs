//! Mail that could not be delivered.

use crate::client::{Envelope, Identity};
use crate::reply::Reply;

/// A recipient that will not get the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRecipient {
    /// As the sender wrote it.
    pub address: String,
    /// The reply that ended it, the host's own or the remote's.
    pub reply: Reply,
    /// The host that gave the reply, when it was not this one.
    pub remote: Option<String>,
}

/// A message that cannot be delivered to some of its recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong, such as `address-not-found`; expect values you do not know.
    pub class: String,
    /// Of the original.
    pub envelope: Envelope,
    /// The recipients that failed this way; at least one.
    pub failed: Vec<FailedRecipient>,
    /// Who submitted the original. None for mail from exempt hosts, from outside, and for the host's own.
    pub identity: Option<Identity>,
    /// Address of the client that submitted it; none for the host's own mail.
    pub client_address: Option<String>,
    /// What admission granted that client.
    pub exemptions: Vec<String>,
    /// The original is itself automatic: a null reverse-path, or by its header (RFC 3834).
    pub automatic: bool,
    /// Header fields of the original, unfolded, bounded in number and length.
    pub headers: Vec<(String, String)>,
}

impl Failure {
    /// Values of the original's fields with this name, in order.
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let fields = self
            .headers
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str())
    }
}
