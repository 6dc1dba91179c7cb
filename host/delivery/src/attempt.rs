//! One attempt: one message, one destination, all its recipients there.

use std::io;
use std::path::Path;
use std::sync::Arc;

use host_events::Event;
use host_mail::{Content, Envelope, Mailbox, Reply};
use host_spool::Failed;

use super::destination::{Destination, Remote};
use super::maildir::MaildirWriter;
use super::outcome::RecipientOutcome;
use super::transaction::{OutgoingMessage, Sent};
use super::{DeliveryServices, Settings};
use crate::connect::{ConnectOptions, Connection};
use crate::connection_pool::PoolKey;
use crate::mail_exchanges::Exchanges;
use crate::remote_health::{ConnectionPermit, Unavailable, Unreachable};

/// Recipients of one transaction: what every host must take (RFC 5321 section 4.5.3.1.8).
const MAX_RECIPIENTS: usize = 100;

/// One message, and what attempts to deliver it need.
#[derive(Clone, Copy)]
pub(super) struct Delivery<'a> {
    pub(super) station: &'a DeliveryServices,
    pub(super) settings: Settings<'a>,
    pub(super) envelope: &'a Envelope,
    pub(super) content: &'a Arc<dyn Content>,
}

impl Delivery<'_> {
    /// Tries; an outcome for each recipient. An error means that the message cannot be read.
    pub(super) async fn attempt(
        &self,
        destination: &Destination,
        recipients: &[Mailbox],
    ) -> io::Result<Vec<RecipientOutcome>> {
        match destination {
            Destination::Maildir(path) => self.maildir(path, recipients).await,
            Destination::Remote(remote) => self.remote(remote, recipients).await,
        }
    }

    async fn maildir(&self, path: &Path, recipients: &[Mailbox]) -> io::Result<Vec<RecipientOutcome>> {
        let maildir = self.settings.mailboxes.join(path);
        let hostname = self.settings.hostname.to_owned();
        let sender = self.envelope.sender.clone();
        let content = self.content.clone();
        let owned = recipients.to_vec();
        let delivering = tokio::task::spawn_blocking(move || {
            MaildirWriter {
                maildir: &maildir,
                hostname: &hostname,
                sender: &sender,
                recipients: &owned,
                content: content.as_ref(),
            }
            .deliver()
        });
        let outcome = delivering.await.map_err(io::Error::other)??;
        Ok(vec![outcome; recipients.len()])
    }

    async fn remote(&self, remote: &Remote, recipients: &[Mailbox]) -> io::Result<Vec<RecipientOutcome>> {
        let limit = self.settings.delivery.per_destination;
        let mut outcomes = Vec::with_capacity(recipients.len());
        let mut turn = None;
        for part in recipients.chunks(MAX_RECIPIENTS) {
            let part: Vec<&Mailbox> = part.iter().collect();
            // Each round but the last leaves the remote with a connection less.
            let done = loop {
                let mut current = match turn.take() {
                    Some(turn) => turn,
                    None => match self.station.gate.enter(remote, limit).await {
                        Ok(turn) => turn,
                        Err(Unavailable { reply, down: true }) => {
                            break vec![RecipientOutcome::Untried(reply); part.len()];
                        }
                        Err(Unavailable { reply, down: false }) => {
                            break vec![RecipientOutcome::Deferred(reply); part.len()];
                        }
                    },
                };
                if let Some(done) = self.transaction(remote, &mut current, &part).await? {
                    turn = Some(current);
                    break done;
                }
            };
            outcomes.extend(done);
        }
        Ok(outcomes)
    }

    /// One transaction, over a connection that waits if there is one. The remote may close such a
    /// connection at the very moment it is used; then a fresh one is tried, once. None if the remote has all the
    /// connections it wants: this turn is over, and nothing was begun.
    async fn transaction(
        &self,
        remote: &Remote,
        turn: &mut ConnectionPermit,
        recipients: &[&Mailbox],
    ) -> io::Result<Option<Vec<RecipientOutcome>>> {
        let manner = self.manner(remote);
        let key = PoolKey {
            remote: remote.clone(),
            verify_tls: manner.verify_tls,
            login: manner.login.cloned(),
        };
        let parcel = OutgoingMessage {
            sender: &self.envelope.sender,
            body: self.envelope.body,
            smtputf8: self.envelope.smtputf8,
            content: self.content,
            recipients,
        };
        if let Some(waiting) = self.station.pool.take(&key) {
            let sent = self.over(waiting, key.clone(), parcel).await?;
            if !sent.untouched {
                self.reached(remote, turn);
                return Ok(Some(sent.outcomes));
            }
        }
        // Most go over a connection that is there, and each would move the room for this along.
        let sent = match Box::pin(self.over_fresh(key, manner, parcel)).await? {
            Ok(sent) => sent,
            Err(outcome) => {
                if matches!(&outcome, RecipientOutcome::Failed(Failed { remote: None, .. })) {
                    turn.forget();
                    return Ok(Some(vec![outcome; recipients.len()]));
                }
                Sent {
                    outcomes: vec![outcome; recipients.len()],
                    untouched: true,
                }
            }
        };
        // It may greet, and take its leave before anything is begun.
        match sent.outcomes.iter().find_map(deferral) {
            Some(reply) if sent.untouched => {
                if self.not_reached(remote, turn, reply) {
                    return Ok(None);
                }
            }
            // It is there, though it may want nothing of us.
            _ => self.reached(remote, turn),
        }
        Ok(Some(sent.outcomes))
    }

    /// One transaction over a connection of its own; the error is that there is none. An exchange may greet, and take its
    /// leave before anything is begun: then another one is tried, once.
    async fn over_fresh(
        &self,
        key: PoolKey,
        manner: ConnectOptions<'_>,
        parcel: OutgoingMessage<'_>,
    ) -> io::Result<Result<Sent, RecipientOutcome>> {
        let remote = &key.remote;
        let first = match Connection::open(remote, manner, None).await {
            Ok(first) => first,
            Err(outcome) => return Ok(Err(outcome)),
        };
        let host = first.host.clone();
        let sent = self.over(first, key.clone(), parcel).await?;
        if !sent.untouched || !matches!(remote, Remote::Exchanges(_)) {
            return Ok(Ok(sent));
        }
        match Connection::open(remote, manner, Some(&host)).await {
            Ok(second) => self.over(second, key, parcel).await.map(Ok),
            Err(_) => Ok(Ok(sent)),
        }
    }

    /// Whether the turn is over because the remote has all the connections it wants.
    fn not_reached(&self, remote: &Remote, turn: &mut ConnectionPermit, reply: &Reply) -> bool {
        let (destination, reply_text) = (remote.to_string(), reply.to_string());
        match turn.down(reply.clone(), self.shortest_wait()) {
            Unreachable::ConnectResult => (self.station.tell)(Event::DestinationDown {
                destination,
                reply: reply_text,
            }),
            Unreachable::Crowded { left, first: true } => (self.station.tell)(Event::DestinationCrowded {
                destination,
                connections: left as u64,
                reply: reply_text,
            }),
            Unreachable::Known | Unreachable::Crowded { first: false, .. } => {}
        }
        turn.is_over()
    }

    fn reached(&self, remote: &Remote, turn: &ConnectionPermit) {
        if let Some(down) = turn.success() {
            (self.station.tell)(Event::DestinationReached {
                destination: remote.to_string(),
                after_seconds: down.as_secs(),
            });
        }
    }

    async fn over(&self, mut connection: Connection, key: PoolKey, parcel: OutgoingMessage<'_>) -> io::Result<Sent> {
        let sent = connection.deliver(parcel).await?;
        if let Some(connection) = self.station.pool.put(key, connection)
            && !sent.untouched
        {
            // Taking leave is not the message's business and must not hold it up.
            tokio::spawn(connection.quit());
        }
        Ok(sent)
    }

    fn manner(&self, remote: &Remote) -> ConnectOptions<'_> {
        let delivery = self.settings.delivery;
        let login = match remote {
            Remote::Server { endpoint, .. } => delivery.logins.iter().find(|login| login.server == *endpoint),
            Remote::Exchanges(_) => None,
        };
        ConnectOptions {
            hostname: self.settings.hostname,
            connect_timeout: delivery.connect_timeout,
            reply_timeout: delivery.reply_timeout,
            // A password is for nobody else.
            verify_tls: delivery.verify_tls || login.is_some(),
            login,
            logins: &self.station.logins,
            tls: &self.station.tls,
            exchanges: Exchanges {
                resolver: &self.station.resolver,
                hostname: self.settings.hostname,
                listeners: self.settings.listeners,
                port: self.station.exchange_port,
            },
            // Whoever has many addresses, and answers slowly at each, must not hold up the rest for longer than others.
            patience: delivery.connect_timeout * 2 + delivery.reply_timeout,
        }
    }

    fn shortest_wait(&self) -> std::time::Duration {
        self.settings.delivery.retry.iter().min().copied().unwrap_or_default()
    }
}

/// Why it waits, if it does.
fn deferral(outcome: &RecipientOutcome) -> Option<&Reply> {
    match outcome {
        RecipientOutcome::Deferred(reply) => Some(reply),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
