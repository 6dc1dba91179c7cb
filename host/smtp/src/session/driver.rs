//! The driver of a session: reads, steps the machine, performs the step's action, writes, and emits events.

mod decisions;
mod held_mail;
pub(super) mod input;
mod logins;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};

use super::machine::{self, ConnectionOffer, Handshake, IdentifiedClient, Rules, Session, Step};
use super::wire::{CloseMode, LineError, Wire};
use crate::session::active_transaction::ActiveTransaction;
use crate::session::chunked_message::discard;
use crate::session::connection_slot::ConnectionSlot;
use crate::session::context::SessionContext;
use crate::session::driver::input::{Interrupted, PeerIo};
use crate::session::refusal_events::{RefusalEvents, RefusalFacts};
use crate::session::replies;
use crate::session::session_permit::SessionPermit;
use crate::session::transport::{Secured, Stream};
use host_config::Listener;
use host_contract::{Admission, AdmissionTerms, Reason};
use host_events::Event;
use host_mail::{Client, Reply, ReversePath, client_network};

/// Maximum duration of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum delay of the reply to a mistake.
const MAX_ERROR_DELAY: Duration = Duration::from_secs(5);
/// Maximum duration of the last write and the close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

type NextStep = Step<ActiveTransaction>;

/// The driver of a connection.
pub struct Driver {
    context: SessionContext,
    listener: Arc<Listener>,
    peer: PeerIo,
    refusals: RefusalEvents,
    /// Permit of the connection, until the first transaction takes the permit or another session gets the permit.
    permit: SessionPermit,
}

impl Driver {
    /// Creates the driver of a connection that was just accepted.
    pub fn new(
        context: SessionContext,
        listener: &Arc<Listener>,
        client: &Client,
        slot: Arc<ConnectionSlot>,
        stop: watch::Receiver<bool>,
        permit: SessionPermit,
    ) -> Self {
        let peer = PeerIo::new(&context, client, slot, stop);
        Self {
            refusals: RefusalEvents::new(peer.session, context.events.clone()),
            peer,
            permit,
            listener: Arc::clone(listener),
            context,
        }
    }

    /// Asks the policy about the connection. The error is the reply that takes the place of the banner.
    pub async fn admit(&mut self, client: &Client) -> Result<AdmissionTerms, Reply> {
        let admission = self.context.policies.admit(self.peer.session, client);
        // A policy may wait for the network.
        let answered = self.permit.release_while(admission).await;
        match answered.answer {
            Admission::Admit(terms) => Ok(terms),
            Admission::Refuse(reply) => {
                self.refused(
                    client,
                    "admit",
                    self.peer.address.clone(),
                    (&reply, &answered.because),
                    &ReversePath::Null,
                );
                Err(reply)
            }
        }
    }

    /// Asks the policy about the client that a front end named, and begins the session anew.
    async fn identify(&mut self, identified: IdentifiedClient) -> NextStep {
        let front_end = std::mem::replace(&mut self.peer.address, identified.client.address.to_string());
        self.context.events.emit(Event::ClientNamed {
            session: self.peer.session.to_string(),
            front_end,
            client: self.peer.address.clone(),
        });
        let terms = match self.admit(&identified.client).await {
            Ok(terms) => terms,
            Err(refusal) => return Step::Close(refusal, None),
        };
        let context = &self.context;
        let offer = ConnectionOffer {
            tls: context.tls.is_some(),
            scram: context.directory.has_scram_for_all(),
        };
        let rules = Rules::new(&context.config, &self.listener, &terms, offer);
        let network = client_network(identified.client.address);
        if rules.auth && rules.authentication && context.logins.refuses(network) {
            let reply = replies::logins_refused(&context.config.hostname);
            return Step::Close(reply, Some("too many failed logins"));
        }
        identified.admitted(rules, terms.exemptions)
    }

    /// Performs a TLS handshake. A failure emits an event and returns `None`; the peer gets no reply.
    pub async fn secure<S>(&mut self, wire: Wire<S>) -> Option<(Wire<S>, Secured)>
    where
        S: Stream,
    {
        let Some(acceptor) = self.context.tls.clone() else {
            self.peer.aborted("TLS is not configured".to_owned());
            return None;
        };
        let peer = &self.peer;
        let handshake = Box::pin(wire.into_transport().secure(&acceptor));
        let handshake = timeout_at(peer.deadline(HANDSHAKE_TIMEOUT), handshake);
        let secured = pin!(async {
            let _waiting = peer.wait();
            peer.unless_evicted(handshake).await
        });
        let secured = match self.permit.release_while(secured).await {
            Ok(secured) => secured,
            // No reply can be sent within a handshake.
            Err(_) => return None,
        };
        match secured {
            Ok(Ok((transport, tls))) => return Some((Wire::new(transport), tls)),
            Ok(Err(error)) => self.peer.aborted(format!("TLS handshake: {error}")),
            Err(_) => self.peer.aborted("TLS handshake: timed out".to_owned()),
        }
        None
    }

    /// Runs the dialogue from the banner to the end of the connection.
    pub async fn converse<S>(mut self, mut wire: Wire<S>, session: Session)
    where
        S: Stream,
    {
        let mut step: NextStep = machine::greet(session);
        let (reply, reason) = loop {
            let next = match step {
                Step::Close(reply, reason) => break (Some(reply), reason),
                Step::StartTls(reply, next) => match self.before_tls(&mut wire, reply).await {
                    Ok(()) => match self.secure(wire).await {
                        Some((secured, tls)) => {
                            wire = secured;
                            Ok(Handshake::established(next, tls))
                        }
                        None => return,
                    },
                    Err(interrupted) => Err(interrupted),
                },
                other => self.perform(&mut wire, other).await,
            };
            match next {
                Ok(next) => step = next,
                Err(interrupted) => break interrupted.closing_reply(&self.context.config.hostname),
            }
        };
        self.end(wire, reply, reason).await;
    }

    /// Sends the last reply and closes the connection within 5 seconds. A `reason` is emitted as an event. A peer that
    /// may still be sending gets time to read the reply.
    pub async fn end<S>(&mut self, mut wire: Wire<S>, reply: Option<Reply>, reason: Option<&'static str>)
    where
        S: Stream,
    {
        // Closing needs no permit.
        self.permit = SessionPermit::default();
        if let Some(reason) = reason {
            self.peer.aborted(reason.to_owned());
        }
        let mode = match &reply {
            Some(_) if reason.is_some() => CloseMode::Linger,
            Some(reply) if reply.code == 221 => CloseMode::AfterQuit,
            Some(_) => CloseMode::IfUnread,
            None => CloseMode::Gone,
        };
        if let Some(reply) = reply {
            wire.queue_reply(&reply);
        }
        // The session is over: an error changes nothing.
        let _ = timeout(CLOSE_TIMEOUT, wire.close(mode)).await;
    }

    async fn perform<S>(&mut self, wire: &mut Wire<S>, step: NextStep) -> Result<NextStep, Interrupted>
    where
        S: Stream,
    {
        match step {
            Step::Listen(reply, mut next) => {
                match next.take_penalty() {
                    0 => {}
                    errors => Box::pin(self.slow_down(wire, errors, next.active())).await?,
                }
                if let Some(reply) = reply {
                    wire.queue_reply(&reply);
                }
                let idle = next.is_between_transactions();
                // Pinned here: a future that is passed on by value takes room in each function on its way.
                let line = match next.active() {
                    Some(active) => active.release_while(pin!(self.peer.line(wire, idle))).await?,
                    None => self.permit.release_while(pin!(self.peer.line(wire, idle))).await?,
                };
                Ok(next.command(&line))
            }
            Step::RecipientsFull(reply, next) => {
                let limit = next.session().rules.recipients as u64;
                let (session, client) = (self.peer.session.to_string(), self.peer.address.clone());
                self.context
                    .events
                    .emit(Event::TooManyRecipients { session, client, limit });
                Ok(Step::Listen(Some(reply), next))
            }
            Step::Challenge(reply, next) => {
                // AUTH waits for the client and the directory, and needs no permit.
                self.permit = SessionPermit::default();
                wire.queue_reply(&reply);
                match self.peer.line(wire, true).await {
                    Ok(line) => Ok(next.response(&line)),
                    Err(Interrupted::Garbled(LineError::TooLong, _)) => {
                        self.reject_endless_exchange(next.mechanism(), next.client());
                        Err(Interrupted::Garbled(LineError::TooLong, replies::exchange_too_long()))
                    }
                    Err(other) => Err(other),
                }
            }
            Step::FindVerifier(pending) => {
                self.permit = SessionPermit::default();
                Ok(Box::pin(self.find_verifier(pending)).await)
            }
            Step::Verify(pending) => {
                self.permit = SessionPermit::default();
                Box::pin(self.verify(wire, pending)).await
            }
            Step::RejectLogin(rejected) => {
                self.permit = SessionPermit::default();
                Box::pin(self.reject_login(wire, rejected)).await
            }
            Step::AskSender(pending) => self.ask_sender(pending).await,
            Step::AskRecipient(pending) => Ok(self.ask_recipient(pending).await),
            Step::Receive(pending) => self.receive_message(wire, pending).await,
            Step::Identify(identified) => Ok(Box::pin(self.identify(*identified)).await),
            Step::StartQueue(request) => {
                let reply = self.start_queue(&request.node);
                Ok(request.done(reply))
            }
            // Boxed: most mail comes by DATA.
            Step::ReceiveChunk(pending) => Box::pin(self.receive_chunk(wire, pending)).await,
            Step::Skip(octets, next) => {
                Box::pin(discard(wire, &self.peer, octets)).await?;
                Ok(*next)
            }
            close @ (Step::StartTls(..) | Step::Close(..)) => Ok(close),
        }
    }

    /// Delays the reply to a mistake, the longer the more `errors` there were (tarpit).
    async fn slow_down<S>(
        &mut self,
        wire: &mut Wire<S>,
        errors: usize,
        active: Option<&mut ActiveTransaction>,
    ) -> Result<(), Interrupted>
    where
        S: Stream,
    {
        let errors = u32::try_from(errors).unwrap_or(u32::MAX);
        let delay = self.context.config.limits.error_delay.saturating_mul(errors);
        let pause = self.peer.pause(wire, delay.min(MAX_ERROR_DELAY));
        match active {
            Some(active) => active.release_while(pause).await,
            None => self.permit.release_while(pause).await,
        }
    }

    /// Sends the reply to STARTTLS. Plaintext that follows STARTTLS is an interruption.
    async fn before_tls<S>(&mut self, wire: &mut Wire<S>, reply: Reply) -> Result<(), Interrupted>
    where
        S: Stream,
    {
        if !wire.input().is_empty() {
            return Err(Interrupted::Injected);
        }
        wire.queue_reply(&reply);
        let peer = &self.peer;
        let flushed = pin!(async {
            let _waiting = peer.wait();
            peer.flush(wire).await
        });
        let flushed = self.permit.release_while(flushed).await;
        // A client that is gone before the handshake has lost no transaction.
        flushed.map_err(|interrupted| interrupted.while_idle(true))
    }

    fn refused(
        &self,
        client: &Client,
        stage: &'static str,
        subject: String,
        (reply, because): (&Reply, &Reason),
        originator: &ReversePath,
    ) {
        let refused = RefusalFacts {
            client,
            stage,
            subject,
            reply,
            because,
        };
        self.refusals.emit(refused, originator);
    }
}
