//! Attempts: delivers a message to the recipients that share a destination.

use std::io;
use std::path::Path;

use host_mail::{BodyType, Mailbox, Reply, ReversePath};

use super::destination::{Destination, Remote};
use super::maildir::MaildirWriter;
use super::outcome::RecipientOutcome;
use crate::outgoing_delivery::Delivery;
use crate::remote_attempt::RemoteAttempt;

impl Delivery<'_> {
    /// Attempts delivery and returns an outcome for each recipient, in order. Of several remotes, `destination` becomes the
    /// one that was reached. An error means that the message cannot be read.
    pub(super) async fn attempt(
        &self,
        destination: &mut Destination,
        sender: &ReversePath,
        recipients: &[Mailbox],
    ) -> io::Result<Vec<RecipientOutcome>> {
        match destination {
            Destination::Maildir(path) => self.maildir(path, recipients).await,
            // Boxed: the large future would enlarge the attempt at a mailbox, too.
            Destination::Remote(remote) => {
                let attempted = Box::pin(RemoteAttempt::new(self, remote, sender).run(recipients)).await?;
                Ok(attempted.outcomes)
            }
            // Boxed: few destinations have alternatives, and the future would enlarge that of every attempt.
            Destination::Alternatives(remotes) => {
                let (outcomes, reached) = Box::pin(self.alternatives(remotes, sender, recipients)).await?;
                if let Some(reached) = reached {
                    *destination = Destination::Remote(reached);
                }
                Ok(outcomes)
            }
            Destination::Held(route) => {
                let reply = Reply::new(451, (4, 7, 0), format!("Held by the route for {route}"));
                Ok(vec![RecipientOutcome::Untried(reply); recipients.len()])
            }
        }
    }

    /// Attempts the remotes in turn until one is reached, that is until a transaction has begun there. Returns the one
    /// that was.
    async fn alternatives(
        &self,
        remotes: &[Remote],
        sender: &ReversePath,
        recipients: &[Mailbox],
    ) -> io::Result<(Vec<RecipientOutcome>, Option<Remote>)> {
        let mut all: Option<Vec<RecipientOutcome>> = None;
        for remote in remotes {
            let attempted = RemoteAttempt::new(self, remote, sender).run(recipients).await?;
            if attempted.is_reached {
                return Ok((attempted.outcomes, Some(remote.clone())));
            }
            all = Some(match all {
                None => attempted.outcomes,
                Some(before) => before
                    .into_iter()
                    .zip(attempted.outcomes)
                    .map(|(before, last)| last.prefer_attempt(before))
                    .collect(),
            });
        }
        Ok((all.unwrap_or_default(), None))
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
