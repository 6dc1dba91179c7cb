//! Attempts: delivers a message to the recipients that share a destination.

use std::io;
use std::path::Path;

use host_mail::{BodyType, Mailbox, ReversePath};

use super::destination::Destination;
use super::maildir::MaildirWriter;
use super::outcome::RecipientOutcome;
use crate::outgoing_delivery::Delivery;
use crate::remote_attempt::RemoteAttempt;

impl Delivery<'_> {
    /// Attempts delivery and returns an outcome for each recipient, in order. An error means that the message cannot be
    /// read.
    pub(super) async fn attempt(
        &self,
        destination: &Destination,
        sender: &ReversePath,
        recipients: &[Mailbox],
    ) -> io::Result<Vec<RecipientOutcome>> {
        match destination {
            Destination::Maildir(path) => self.maildir(path, recipients).await,
            // Boxed: the large future would enlarge the attempt at a mailbox, too.
            Destination::Remote(remote) => Box::pin(RemoteAttempt::new(self, remote, sender).run(recipients)).await,
        }
    }

    async fn maildir(&self, path: &Path, recipients: &[Mailbox]) -> io::Result<Vec<RecipientOutcome>> {
        let maildir = self.settings.mailboxes.join(path);
        let hostname = self.settings.hostname.to_owned();
        let sender = self.envelope.sender.clone();
        let content = self.content.clone();
        let is_binary = self.envelope.body == BodyType::Binary;
        let owned = recipients.to_vec();
        let delivering = tokio::task::spawn_blocking(move || {
            MaildirWriter {
                maildir: &maildir,
                hostname: &hostname,
                sender: &sender,
                recipients: &owned,
                content: content.as_ref(),
                is_binary,
            }
            .deliver()
        });
        let outcome = delivering.await.map_err(io::Error::other)??;
        Ok(vec![outcome; recipients.len()])
    }
}

#[cfg(test)]
mod tests;
