//! Attempts: delivers a message to the recipients that share a destination.

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
use crate::client_connection::Connection;
use crate::connect::ConnectOptions;
use crate::connection_pool::PoolKey;
use crate::delivery_services::{DeliveryServices, Settings};
use crate::mail_exchanges::Exchanges;
use crate::remote_health::{ConnectionPermit, FailureEffect, Unavailable};

/// Maximum recipients of a transaction, a number that every host must accept (RFC 5321 section 4.5.3.1.8).
const MAX_RECIPIENTS: usize = 100;

/// A message with everything that attempts to deliver the message need.
#[derive(Clone, Copy)]
pub(super) struct Delivery<'a> {
    pub(super) services: &'a DeliveryServices,
    pub(super) settings: Settings<'a>,
    pub(super) envelope: &'a Envelope,
    pub(super) content: &'a Arc<dyn Content>,
}

impl Delivery<'_> {
    /// Attempts delivery and returns an outcome for each recipient, in order. An error means that the message cannot be
    /// read.
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
        let mut permit = None;
        for part in recipients.chunks(MAX_RECIPIENTS) {
            let part: Vec<&Mailbox> = part.iter().collect();
            // Every round but the last has reduced the connection limit of the remote.
            let done = loop {
                let mut current = match permit.take() {
                    Some(permit) => permit,
                    None => match self.services.remote_health.acquire(remote, limit).await {
                        Ok(permit) => permit,
                        Err(Unavailable {
                            reply,
                            circuit_open: true,
                        }) => {
                            break vec![RecipientOutcome::Untried(reply); part.len()];
                        }
                        Err(Unavailable {
                            reply,
                            circuit_open: false,
                        }) => {
                            break vec![RecipientOutcome::Deferred(reply); part.len()];
                        }
                    },
                };
                if let Some(done) = self.transaction(remote, &mut current, &part).await? {
                    permit = Some(current);
                    break done;
                }
            };
            outcomes.extend(done);
        }
        Ok(outcomes)
    }

    /// Runs a transaction over an idle connection if the pool has a usable connection, else over a new connection.
    ///
    /// A remote may close an idle connection at the moment of use; a new connection is then tried, once. Returns `None`
    /// if the remote is at its connection limit: the permit is consumed, and no transaction was begun.
    async fn transaction(
        &self,
        remote: &Remote,
        permit: &mut ConnectionPermit,
        recipients: &[&Mailbox],
    ) -> io::Result<Option<Vec<RecipientOutcome>>> {
        let options = self.connect_options(remote);
        let key = PoolKey {
            remote: remote.clone(),
            verify_tls: options.verify_tls,
            login: options.login.cloned(),
        };
        let message = OutgoingMessage {
            sender: &self.envelope.sender,
            body: self.envelope.body,
            smtputf8: self.envelope.smtputf8,
            content: self.content,
            recipients,
        };
        if let Some(waiting) = self.services.pool.take(&key) {
            let sent = self.send_over(waiting, key.clone(), message).await?;
            if !sent.may_retry {
                self.record_success(remote, permit);
                return Ok(Some(sent.outcomes));
            }
        }
        // Boxed: most messages go over an idle connection, and the large future would enlarge every caller.
        let sent = match Box::pin(self.send_over_new(key, options, message)).await? {
            Ok(sent) => sent,
            Err(outcome) => {
                if matches!(&outcome, RecipientOutcome::Failed(Failed { remote: None, .. })) {
                    permit.reset_circuit();
                    return Ok(Some(vec![outcome; recipients.len()]));
                }
                Sent {
                    outcomes: vec![outcome; recipients.len()],
                    may_retry: true,
                }
            }
        };
        // A remote may greet, and then reply 421 before a transaction is begun.
        match sent.outcomes.iter().find_map(deferral) {
            Some(reply) if sent.may_retry => {
                if self.record_failure(remote, permit, reply) {
                    return Ok(None);
                }
            }
            // The remote is up, even if every recipient was refused.
            _ => self.record_success(remote, permit),
        }
        Ok(Some(sent.outcomes))
    }

    /// Runs a transaction over a new connection; the inner error is the outcome if no connection could be opened. A
    /// mail exchange may greet and then close the dialogue before a transaction is begun: another exchange is then
    /// tried, once.
    async fn send_over_new(
        &self,
        key: PoolKey,
        options: ConnectOptions<'_>,
        message: OutgoingMessage<'_>,
    ) -> io::Result<Result<Sent, RecipientOutcome>> {
        let remote = &key.remote;
        let first = match Connection::open(remote, options, None).await {
            Ok(first) => first,
            Err(outcome) => return Ok(Err(outcome)),
        };
        let host = first.host.clone();
        let sent = self.send_over(first, key.clone(), message).await?;
        if !sent.may_retry || !matches!(remote, Remote::Exchanges(_)) {
            return Ok(Ok(sent));
        }
        match Connection::open(remote, options, Some(&host)).await {
            Ok(second) => self.send_over(second, key, message).await.map(Ok),
            Err(_) => Ok(Ok(sent)),
        }
    }

    /// Records that the remote could not be reached. True if the permit is consumed because the remote is at its
    /// connection limit.
    fn record_failure(&self, remote: &Remote, permit: &mut ConnectionPermit, reply: &Reply) -> bool {
        let (destination, reply_text) = (remote.to_string(), reply.to_string());
        match permit.record_failure(reply.clone(), self.shortest_retry_wait()) {
            FailureEffect::CircuitOpened => (self.services.emit)(Event::DestinationDown {
                destination,
                reply: reply_text,
            }),
            FailureEffect::LimitReduced { limit, first: true } => (self.services.emit)(Event::DestinationCrowded {
                destination,
                connections: limit as u64,
                reply: reply_text,
            }),
            FailureEffect::Unchanged | FailureEffect::LimitReduced { first: false, .. } => {}
        }
        permit.is_consumed()
    }

    fn record_success(&self, remote: &Remote, permit: &ConnectionPermit) {
        if let Some(outage) = permit.record_success() {
            (self.services.emit)(Event::DestinationReached {
                destination: remote.to_string(),
                after_seconds: outage.as_secs(),
            });
        }
    }

    async fn send_over(
        &self,
        mut connection: Connection,
        key: PoolKey,
        message: OutgoingMessage<'_>,
    ) -> io::Result<Sent> {
        let sent = connection.deliver(message).await?;
        if let Some(connection) = self.services.pool.put(key, connection)
            && !sent.may_retry
        {
            // QUIT runs in a task of its own, so that the message does not wait for the reply.
            tokio::spawn(connection.quit());
        }
        Ok(sent)
    }

    fn connect_options(&self, remote: &Remote) -> ConnectOptions<'_> {
        let delivery = self.settings.delivery;
        let login = match remote {
            Remote::Server { endpoint, .. } => delivery.logins.iter().find(|login| login.server == *endpoint),
            Remote::Exchanges(_) => None,
        };
        ConnectOptions {
            hostname: self.settings.hostname,
            connect_timeout: delivery.connect_timeout,
            reply_timeout: delivery.reply_timeout,
            // A password is sent only to a server whose certificate verifies.
            verify_tls: delivery.verify_tls || login.is_some(),
            login,
            logins: &self.services.logins,
            tls: &self.services.tls,
            exchanges: Exchanges {
                resolver: &self.services.resolver,
                hostname: self.settings.hostname,
                listeners: self.settings.listeners,
                port: self.services.exchange_port,
            },
            // Bounds the time for a remote with many addresses that answer slowly.
            open_timeout: delivery.connect_timeout * 2 + delivery.reply_timeout,
        }
    }

    fn shortest_retry_wait(&self) -> std::time::Duration {
        self.settings.delivery.retry.iter().min().copied().unwrap_or_default()
    }
}

/// Returns the reply that a recipient was deferred with, if any.
fn deferral(outcome: &RecipientOutcome) -> Option<&Reply> {
    match outcome {
        RecipientOutcome::Deferred(reply) => Some(reply),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
