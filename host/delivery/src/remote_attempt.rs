//! An attempt at a remote: permits, connections, and as many transactions as the recipients need.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use host_config::{HopRate, HopSettings};
use host_events::Event;
use host_mail::{Content, Mailbox, Reply, ReversePath};
use host_spool::Failed;

use super::destination::Remote;
use super::outcome::RecipientOutcome;
use super::transaction::{DialogueEnd, OutgoingMessage, Sent};
use crate::activity::Activity;
use crate::client_connection::{Connection, bad_connection};
use crate::connect_options::ConnectOptions;
use crate::connection_pool::PoolKey;
use crate::deferral::is_throttle;
use crate::outgoing_delivery::Delivery;
use crate::outgoing_slots::OutgoingSlot;
use crate::remote_health::{ConnectionPermit, FailureEffect, Unavailable};

/// Maximum recipients of a transaction, a number that every host must accept (RFC 5321 section 4.5.3.1.8).
const MAX_RECIPIENTS: usize = 100;
/// Longest time without an answer before the remote counts as down. Half of the reply timeout if that is shorter.
const STALL: Duration = Duration::from_secs(30);
/// Time without an answer after which a delivery gives way to one that waits for a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer patience for a message that the remote may have accepted: giving up early may deliver twice.
const PATIENCE_IN_DOUBT: Duration = Duration::from_secs(60);

/// An attempt at a remote.
pub(super) struct RemoteAttempt<'a> {
    delivery: &'a Delivery<'a>,
    remote: &'a Remote,
    /// Reverse-path of the recipients' mail.
    sender: &'a ReversePath,
    activity: Activity,
    /// Permit that serves the next transaction, too.
    permit: Option<ConnectionPermit>,
    slot: Option<OutgoingSlot>,
    /// Connection that serves the next transaction, too.
    connection: Option<Connection>,
    /// True once a transaction has begun.
    is_reached: bool,
}

/// Result of an attempt at a remote.
pub(super) struct Attempted {
    /// Outcome of each recipient, in order.
    pub(super) outcomes: Vec<RecipientOutcome>,
    /// True if a transaction has begun. Otherwise another remote may be tried.
    pub(super) is_reached: bool,
}

/// Outcomes of a transaction.
struct Round {
    outcomes: Vec<RecipientOutcome>,
    /// Indexes of recipients that the remote takes in another transaction.
    put_off: Vec<usize>,
}

impl Round {
    fn of(outcome: RecipientOutcome, recipients: usize) -> Self {
        Self {
            outcomes: vec![outcome; recipients],
            put_off: Vec::new(),
        }
    }
}

impl<'a> RemoteAttempt<'a> {
    pub(super) fn new(delivery: &'a Delivery<'a>, remote: &'a Remote, sender: &'a ReversePath) -> Self {
        Self {
            delivery,
            remote,
            sender,
            activity: Activity::new(),
            permit: None,
            slot: None,
            connection: None,
            is_reached: false,
        }
    }

    /// Attempts delivery and returns an outcome for each recipient, in order. Recipients that the remote puts off for
    /// their number are sent in the next transaction, as long as each transaction ends with a final
    /// outcome for some. An error means that
    /// the message cannot be read.
    pub(super) async fn run(mut self, recipients: &[Mailbox]) -> io::Result<Attempted> {
        let mut outcomes: Vec<Option<RecipientOutcome>> = vec![None; recipients.len()];
        let mut open: VecDeque<usize> = (0..recipients.len()).collect();
        let mut size = self.settings().map_or(MAX_RECIPIENTS, |own| most_recipients(own.rate));
        while !open.is_empty() {
            let part: Vec<usize> = open.drain(..open.len().min(size)).collect();
            let addresses: Vec<&Mailbox> = part.iter().map(|index| &recipients[*index]).collect();
            let round = self.round(&addresses).await?;
            for (index, outcome) in part.iter().zip(&round.outcomes) {
                outcomes[*index] = Some(outcome.clone());
            }
            let done = round.outcomes.iter().filter(|outcome| is_final(outcome)).count();
            if done > 0 && !round.put_off.is_empty() {
                size = done;
                round
                    .put_off
                    .iter()
                    .rev()
                    .for_each(|put_off| open.push_front(part[*put_off]));
            }
        }
        let is_reached = self.is_reached;
        self.finish();
        Ok(Attempted {
            outcomes: outcomes.into_iter().flatten().collect(),
            is_reached,
        })
    }

    /// Runs a transaction as soon as the remote has a connection for it.
    async fn round(&mut self, recipients: &[&Mailbox]) -> io::Result<Round> {
        // Every turn but the last has reduced the connection limit of the remote.
        loop {
            let mut permit = match self.acquire().await {
                Ok(permit) => permit,
                Err(Unavailable { reply, circuit_open }) => {
                    let outcome = match circuit_open {
                        true => RecipientOutcome::Untried(reply),
                        false => RecipientOutcome::Crowded(reply),
                    };
                    return Ok(Round::of(outcome, recipients.len()));
                }
            };
            self.keep_pace(&permit, recipients.len()).await;
            if self.slot.is_none() {
                self.slot = Some(self.delivery.services.slots.acquire(self.remote).await);
            }
            if let Some(done) = self.watched(&mut permit, recipients).await? {
                self.permit = Some(permit);
                return Ok(done);
            }
        }
    }

    fn settings(&self) -> Option<&'a HopSettings> {
        self.remote.settings(self.delivery.settings.delivery).map(|own| &**own)
    }

    /// Waits until the rate of the remote allows another transaction. A released message does not wait.
    async fn keep_pace(&self, permit: &ConnectionPermit, recipients: usize) {
        let rate = self.settings().map(|own| own.rate).unwrap_or_default();
        let delay = permit.delay(rate, recipients);
        if !delay.is_zero() && !self.delivery.is_forced {
            // Boxed: most remotes have no rate.
            Box::pin(sleep(delay)).await;
        }
    }

    async fn acquire(&mut self) -> Result<ConnectionPermit, Unavailable> {
        if let Some(permit) = self.permit.take() {
            return Ok(permit);
        }
        let health = &self.delivery.services.remote_health;
        let limit = self
            .settings()
            .and_then(|own| own.connections)
            .unwrap_or(self.delivery.settings.delivery.per_destination);
        match self.delivery.is_forced {
            true => Ok(health.force(self.remote, limit)),
            false => health.acquire(self.remote, limit, self.delivery.wait_bound).await,
        }
    }

    /// Runs a transaction, reports a remote that does not answer, and gives up after a long silence if other deliveries
    /// wait for a connection.
    async fn watched(&mut self, permit: &mut ConnectionPermit, recipients: &[&Mailbox]) -> io::Result<Option<Round>> {
        let (activity, slots) = (self.activity.clone(), self.delivery.services.slots.clone());
        let stalls = permit.stall_reporter();
        let (stall, name) = (self.stall(), self.remote.host());
        let emit = &self.delivery.services.emit;
        let destination = self.remote.to_string();
        activity.set_in_doubt(false);
        let given_up = {
            let mut work = std::pin::pin!(self.transaction(permit, recipients));
            let mut is_reported = false;
            loop {
                tokio::select! {
                    biased;
                    done = work.as_mut() => return done,
                    () = activity.silent_for(|_| stall), if !is_reported => {
                        is_reported = true;
                        let reply = silence(&name, stall);
                        if stalls.record_stall(reply.clone(), stall) {
                            (emit)(Event::DestinationDown {
                                destination: destination.clone(),
                                reply: reply.to_string(),
                            });
                        }
                    }
                    () = give_way(&activity, &slots) => break silence(&name, patience(&activity)),
                }
            }
        };
        self.connection = None;
        let _ = self.record_failure(permit, &given_up);
        Ok(Some(Round::of(RecipientOutcome::Deferred(given_up), recipients.len())))
    }

    fn stall(&self) -> Duration {
        STALL.min(self.delivery.settings.delivery.reply_timeout / 2)
    }

    /// Runs a transaction over an idle connection if there is one, else over a new connection.
    ///
    /// A remote may close an idle connection at the moment of use; a new connection is then tried, once. Returns `None`
    /// if the remote is at its connection limit: the permit is consumed, and no transaction was begun.
    async fn transaction(
        &mut self,
        permit: &mut ConnectionPermit,
        recipients: &[&Mailbox],
    ) -> io::Result<Option<Round>> {
        let activity = self.activity.clone();
        let options = self.delivery.connect_options(self.remote, &activity);
        let content = self.content().await?;
        let message = OutgoingMessage {
            is_named_by_dns: matches!(self.remote, Remote::Exchanges(_)),
            ..self.delivery.message(self.sender, &content, recipients)
        };
        let idle = self
            .connection
            .take()
            .or_else(|| self.delivery.services.pool.take(&self.key(options)));
        if let Some(idle) = idle {
            let sent = self.send_over(idle, message).await?;
            if !sent.may_retry {
                return Ok(self.conclude(sent, permit));
            }
        }
        // Boxed: most messages go over an idle connection, and the large future would enlarge every caller.
        let sent = match Box::pin(self.send_over_new(options, message)).await? {
            Ok(sent) => sent,
            Err(outcome) => {
                if matches!(&outcome, RecipientOutcome::Failed(Failed { remote: None, .. })) {
                    permit.reset_circuit();
                    return Ok(Some(Round::of(outcome, recipients.len())));
                }
                Sent {
                    outcomes: vec![outcome; recipients.len()],
                    put_off: Vec::new(),
                    may_retry: true,
                    end: DialogueEnd::Orderly,
                }
            }
        };
        Ok(self.conclude(sent, permit))
    }

    /// Content for the remote. A mailbox behind LMTP gets the message as it is stored.
    async fn content(&self) -> io::Result<Arc<dyn Content>> {
        match self.remote.is_smtp() {
            true => self.delivery.outgoing.signed().await,
            false => Ok(self.delivery.content.clone()),
        }
    }

    fn key(&self, options: ConnectOptions<'_>) -> PoolKey {
        PoolKey {
            remote: self.remote.clone(),
            tls_level: options.tls_level,
            settings: options.settings.cloned(),
            login: options.login.cloned(),
        }
    }

    /// Runs a transaction over a new connection; the inner error is the outcome if no connection could be opened. A
    /// mail exchange may greet and then close the dialogue before a transaction is begun: another exchange is then
    /// tried, once.
    async fn send_over_new(
        &mut self,
        options: ConnectOptions<'_>,
        message: OutgoingMessage<'_>,
    ) -> io::Result<Result<Sent, RecipientOutcome>> {
        let remote = self.remote;
        let first = match Connection::open(remote, options, None).await {
            Ok(first) => first,
            Err(outcome) => return Ok(Err(outcome)),
        };
        let host = first.host.clone();
        let sent = self.send_over(first, message).await?;
        if !sent.may_retry || !matches!(remote.unnamed(), Remote::Exchanges(_)) {
            return Ok(Ok(sent));
        }
        match Connection::open(remote, options, Some(&host)).await {
            Ok(second) => self.send_over(second, message).await.map(Ok),
            Err(_) => Ok(Ok(sent)),
        }
    }

    /// Runs a transaction over `connection`, which is kept for the next transaction.
    async fn send_over(&mut self, mut connection: Connection, message: OutgoingMessage<'_>) -> io::Result<Sent> {
        connection.activity = self.activity.clone();
        connection.activity.touch();
        let sent = connection.deliver(message).await?;
        if connection.reusable {
            self.connection = Some(connection);
        } else if !sent.may_retry && sent.end == DialogueEnd::Orderly {
            leave(connection);
        }
        Ok(sent)
    }

    /// Records the effect of a transaction on the health of the remote. `None` if the permit is consumed.
    fn conclude(&mut self, sent: Sent, permit: &mut ConnectionPermit) -> Option<Round> {
        self.is_reached |= !sent.may_retry;
        let throttled = sent.outcomes.iter().map(throttle).collect::<Option<Vec<_>>>();
        match (&sent.end, throttled.as_deref()) {
            // A remote may greet, and then reply 421 before a transaction is begun.
            _ if sent.may_retry => {
                if let Some(reply) = sent.outcomes.iter().find_map(deferral)
                    && self.record_failure(permit, reply)
                {
                    return None;
                }
                if sent.outcomes.iter().all(|outcome| deferral(outcome).is_none()) {
                    self.record_success(permit);
                }
            }
            (DialogueEnd::TimedOut(reply), _) => drop(self.record_failure(permit, reply)),
            (DialogueEnd::CutOff(reply), _) => self.record_trouble(permit, reply),
            (DialogueEnd::Orderly, Some([reply, ..])) => self.record_throttle(permit, reply),
            // The remote is up, even if every recipient was refused.
            (DialogueEnd::Orderly, _) => self.record_success(permit),
        }
        Some(Round {
            outcomes: sent.outcomes,
            put_off: sent.put_off,
        })
    }

    /// Records that the remote could not be reached. True if the permit is consumed because the remote is at its
    /// connection limit.
    fn record_failure(&self, permit: &mut ConnectionPermit, reply: &Reply) -> bool {
        let effect = permit.record_failure(reply.clone(), self.shortest_retry_wait());
        self.emit_effect(effect, reply);
        permit.is_consumed()
    }

    fn record_trouble(&self, permit: &mut ConnectionPermit, reply: &Reply) {
        let effect = permit.record_trouble(reply.clone(), self.shortest_retry_wait());
        self.emit_effect(effect, reply);
    }

    fn record_throttle(&self, permit: &mut ConnectionPermit, reply: &Reply) {
        if let Some(connections) = permit.slow_down() {
            (self.delivery.services.emit)(Event::DestinationThrottled {
                destination: self.remote.to_string(),
                connections: connections as u64,
                reply: reply.to_string(),
            });
        }
        self.record_trouble(permit, reply);
    }

    fn emit_effect(&self, effect: FailureEffect, reply: &Reply) {
        let (destination, reply) = (self.remote.to_string(), reply.to_string());
        match effect {
            FailureEffect::CircuitOpened => {
                (self.delivery.services.emit)(Event::DestinationDown { destination, reply });
            }
            FailureEffect::LimitReduced { limit, first: true } => {
                (self.delivery.services.emit)(Event::DestinationCrowded {
                    destination,
                    connections: limit as u64,
                    reply,
                });
            }
            FailureEffect::Unchanged | FailureEffect::LimitReduced { first: false, .. } => {}
        }
    }

    fn record_success(&self, permit: &ConnectionPermit) {
        if let Some(outage) = permit.record_success() {
            (self.delivery.services.emit)(Event::DestinationReached {
                destination: self.remote.to_string(),
                after_seconds: outage.as_secs(),
            });
        }
    }

    /// Keeps the connection for the next message, or closes it.
    fn finish(mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let activity = self.activity.clone();
        let key = self.key(self.delivery.connect_options(self.remote, &activity));
        if let Some(connection) = self.delivery.services.pool.put(key, connection) {
            leave(connection);
        }
    }

    fn shortest_retry_wait(&self) -> Duration {
        self.delivery
            .settings
            .delivery
            .retry
            .iter()
            .min()
            .copied()
            .unwrap_or_default()
    }
}

/// Maximum recipients of a transaction within a rate.
fn most_recipients(rate: HopRate) -> usize {
    let of_rate = rate.recipients.map_or(MAX_RECIPIENTS, |most| most as usize);
    of_rate.clamp(1, MAX_RECIPIENTS)
}

/// Sends QUIT in a task of its own, so that the message does not wait for the reply.
fn leave(connection: Connection) {
    tokio::spawn(connection.quit());
}

/// Returns when the delivery should give way to one that waits for a connection. Cancel safe.
async fn give_way(activity: &Activity, slots: &crate::outgoing_slots::OutgoingSlots) {
    loop {
        activity.silent_for(patience).await;
        slots.must_give_way().await;
        if activity.has_been_silent_for(patience) {
            return;
        }
        slots.pass_on();
    }
}

fn patience(activity: &Activity) -> Duration {
    match activity.is_in_doubt() {
        true => PATIENCE_IN_DOUBT,
        false => PATIENCE,
    }
}

fn silence(host: &str, time: Duration) -> Reply {
    bad_connection(&format!("{host} has not answered for {} s", time.as_secs_f64()))
}

fn is_final(outcome: &RecipientOutcome) -> bool {
    matches!(
        outcome,
        RecipientOutcome::Delivered { .. } | RecipientOutcome::Failed(_)
    )
}

/// Returns the reply that a recipient was deferred with, if any.
fn deferral(outcome: &RecipientOutcome) -> Option<&Reply> {
    match outcome {
        RecipientOutcome::Deferred(reply) => Some(reply),
        _ => None,
    }
}

/// Returns the reply if it puts this host off.
fn throttle(outcome: &RecipientOutcome) -> Option<&Reply> {
    deferral(outcome).filter(|reply| is_throttle(reply))
}
