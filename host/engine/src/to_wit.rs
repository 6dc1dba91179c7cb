//! Conversion of questions from the host's types to the contract's. Converted values are shared by all modules of a
//! chain.

use std::sync::Arc;

use super::bindings::posthouse::policy::types;
use host_contract::{FailedRecipient, Failure};
use host_mail::{Client, Envelope, Identity, Reply, ReversePath};

/// Client and reverse-path of a mail transaction.
#[derive(Clone)]
pub struct Parties {
    /// The client in the contract's type.
    pub client: Arc<types::Client>,
    /// The reverse-path in the contract's type.
    pub sender: Arc<types::ReversePath>,
}

impl Parties {
    /// Converts client and reverse-path; done once for each transaction.
    pub fn new(client: &Client, sender: &ReversePath) -> Self {
        Self {
            client: self::client(client),
            sender: Arc::new(reverse_path(sender)),
        }
    }
}

/// Converts a client.
pub fn client(client: &Client) -> Arc<types::Client> {
    Arc::new(types::Client {
        listener: client.listener.clone(),
        address: client.address.to_canonical().to_string(),
        port: client.port,
        name: client.name.clone(),
        helo: client.helo.clone(),
        tls: client.tls.as_ref().map(|tls| types::TlsSession {
            version: tls.version.clone(),
            cipher: tls.cipher.clone(),
            subject: tls.subject.clone(),
        }),
        identity: client.identity.as_ref().map(identity),
        exemptions: client.exemptions.to_vec(),
        more: None,
    })
}

fn identity(identity: &Identity) -> types::Identity {
    types::Identity {
        account: identity.account.clone(),
        mechanism: identity.mechanism.clone(),
    }
}

fn reverse_path(path: &ReversePath) -> types::ReversePath {
    match path.mailbox() {
        None => types::ReversePath::Null,
        Some(mailbox) => types::ReversePath::Mailbox(mailbox.to_string()),
    }
}

/// Converts an envelope.
pub fn envelope(envelope: &Envelope) -> types::Envelope {
    types::Envelope {
        sender: reverse_path(&envelope.sender),
        recipients: envelope.recipients.iter().map(ToString::to_string).collect(),
        more: None,
    }
}

/// Converts a failure.
pub fn failure(failure: &Failure) -> Arc<types::Failure> {
    Arc::new(types::Failure {
        class: failure.class.clone(),
        envelope: envelope(&failure.envelope),
        failed: failure.failed.iter().map(failed_recipient).collect(),
        identity: failure.identity.as_ref().map(identity),
        client_address: failure.client_address.map(|address| address.to_canonical().to_string()),
        exemptions: failure.exemptions.clone(),
        automatic: failure.automatic,
        headers: failure.headers.clone(),
        more: None,
    })
}

fn failed_recipient(failed: &FailedRecipient) -> types::FailedRecipient {
    types::FailedRecipient {
        address: failed.address.to_string(),
        reply: reply(&failed.reply),
        remote: failed.remote.clone(),
    }
}

/// Converts a reply. A remote may omit the enhanced status code, which the contract requires: `X.0.0` is then the
/// undefined status of RFC 3463.
fn reply(reply: &Reply) -> types::Reply {
    let class = u8::try_from(reply.code / 100).unwrap_or(5);
    types::Reply {
        code: reply.code,
        status: reply
            .status
            .map_or((class, 0, 0), |status| (status.0, status.1, status.2)),
        text: reply.text.clone(),
    }
}
