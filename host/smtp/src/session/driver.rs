//! Reads, steps the machine, performs what it says, writes, and tells the operator.

mod decisions;
mod input;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::machine::{self, Handshake, Session, Step};
use super::wire::{LineError, Parting, Wire};
use super::{ConnectionSlot, SessionContext, replies};
use crate::session::refusal_events::RefusalEvent;
use crate::session::session_permit::{ActiveTransaction, SessionPermit};
use crate::session::transport::Stream;
use host_contract::{Admission, AdmissionTerms, Reason};
use host_events::Event;
use host_mail::{Client, Reply, ReversePath, SessionId, TlsSession};

pub use crate::session::driver::input::Interrupted;

/// A TLS handshake takes no longer than this.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Writing the last reply takes no longer than this.
const FAREWELL: Duration = Duration::from_secs(5);
/// Stands for a time-out that no clock can express.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

type Next = Step<ActiveTransaction>;

/// One connection's driver.
pub struct Driver {
    context: SessionContext,
    id: SessionId,
    /// The peer's address, for events.
    client: String,
    place: Arc<ConnectionSlot>,
    stop: watch::Receiver<bool>,
    /// When the connection has lasted long enough.
    ends: Instant,
    /// The one that the connection began with, until its first transaction has it, or it was given away.
    permit: SessionPermit,
}

impl Driver {
    /// For a connection that was just accepted.
    pub fn new(
        context: SessionContext,
        client: &Client,
        place: Arc<ConnectionSlot>,
        stop: watch::Receiver<bool>,
        permit: SessionPermit,
    ) -> Self {
        let now = Instant::now();
        let lasts = context.config.timeouts.session;
        Self {
            id: SessionId::generate(),
            client: client.address.to_string(),
            place,
            stop,
            ends: now.checked_add(lasts).unwrap_or(now + FOREVER),
            permit,
            context,
        }
    }

    /// Shared with whoever gave it.
    pub fn place(&self) -> Arc<ConnectionSlot> {
        Arc::clone(&self.place)
    }

    /// Asks the policy about the connection. The error takes the banner's place.
    pub async fn admit(&mut self, client: &Client) -> Result<AdmissionTerms, Reply> {
        let asked = self.context.policies.admit(self.id, client);
        // A policy may ask the network.
        let asked = self.permit.release_while(asked).await;
        match asked.answer {
            Admission::Admit(terms) => Ok(terms),
            Admission::Refuse(reply) => {
                self.refused(
                    client,
                    "admit",
                    self.client.clone(),
                    (&reply, &asked.because),
                    &ReversePath::Null,
                );
                Err(reply)
            }
        }
    }

    /// Does a TLS handshake; what goes wrong is told to the operator, since the peer cannot be told.
    pub async fn secure<S>(&mut self, wire: Wire<S>) -> Option<(Wire<S>, TlsSession)>
    where
        S: Stream,
    {
        let Some(acceptor) = self.context.tls.clone() else {
            self.aborted("TLS is not configured".to_owned());
            return None;
        };
        let handshake = Box::pin(wire.into_transport().secure(&acceptor));
        let handshake = timeout_at(self.within(HANDSHAKE), handshake);
        let secured = self.with_permit(async |driver| {
            let _waiting = driver.place.wait();
            driver.unless_told(handshake).await
        });
        let secured = match secured.await {
            Ok(secured) => secured,
            // Nothing can be said within a handshake.
            Err(_) => return None,
        };
        match secured {
            Ok(Ok((transport, session))) => return Some((Wire::new(transport), session)),
            Ok(Err(error)) => self.aborted(format!("TLS handshake: {error}")),
            Err(_) => self.aborted("TLS handshake: timed out".to_owned()),
        }
        None
    }

    /// The dialogue from the banner to the end.
    pub async fn converse<S>(mut self, mut wire: Wire<S>, session: Session)
    where
        S: Stream,
    {
        let mut step: Next = machine::greet(session);
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
                    Err(lost) => Err(lost),
                },
                other => self.perform(&mut wire, other).await,
            };
            match next {
                Ok(next) => step = next,
                Err(lost) => break lost.farewell(&self.context.config.hostname),
            }
        };
        self.end(wire, reply, reason).await;
    }

    /// Says the last word and closes. With a reason the operator is told, and the peer is given time
    /// to read it.
    pub async fn end<S>(&mut self, mut wire: Wire<S>, reply: Option<Reply>, reason: Option<&'static str>)
    where
        S: Stream,
    {
        // Nobody waits for the farewell.
        self.permit = SessionPermit::default();
        if let Some(reason) = reason {
            self.aborted(reason.to_owned());
        }
        let parting = match &reply {
            Some(_) if reason.is_some() => Parting::Interrupted,
            Some(reply) if reply.code == 221 => Parting::Agreed,
            _ => Parting::Unbegun,
        };
        if let Some(reply) = reply {
            wire.say(&reply);
        }
        // What goes wrong now concerns nobody any more.
        let _ = timeout(FAREWELL, wire.close(parting)).await;
    }

    /// Does what most likely lets this host wait, in the connection's turn as long as that lasts.
    async fn with_permit<T>(&mut self, work: impl AsyncFnOnce(&mut Self) -> T) -> T {
        let mut permit = std::mem::take(&mut self.permit);
        // Pinned here: what is handed on from one to the next has room in each of them.
        let done = permit.release_while(pin!(work(self))).await;
        self.permit = permit;
        done
    }

    async fn perform<S>(&mut self, wire: &mut Wire<S>, step: Next) -> Result<Next, Interrupted>
    where
        S: Stream,
    {
        match step {
            Step::Listen(reply, mut next) => {
                if let Some(reply) = reply {
                    wire.say(&reply);
                }
                let idle = next.is_between_transactions();
                let line = match next.policy() {
                    Some(active) => active.release_while(pin!(self.line(wire, idle))).await?,
                    None => self.with_permit(async |driver| driver.line(wire, idle).await).await?,
                };
                Ok(next.command(&line))
            }
            Step::RecipientsFull(reply, next) => {
                let limit = next.session().rules.recipients as u64;
                let (session, client) = (self.id.to_string(), self.client.clone());
                self.context
                    .events
                    .emit(Event::TooManyRecipients { session, client, limit });
                Ok(Step::Listen(Some(reply), next))
            }
            Step::Challenge(reply, next) => {
                // AUTH takes its time, of the client and of whoever knows its password.
                self.permit = SessionPermit::default();
                wire.say(&reply);
                let line = self.line(wire, true).await.map_err(|lost| match lost {
                    Interrupted::Garbled(LineError::TooLong, _) => {
                        Interrupted::Garbled(LineError::TooLong, replies::exchange_too_long())
                    }
                    other => other,
                })?;
                Ok(next.response(&line))
            }
            Step::Verify(asking) => {
                self.permit = SessionPermit::default();
                Ok(self.verify(asking).await)
            }
            Step::Impersonation(asking) => {
                self.permit = SessionPermit::default();
                Ok(self.denied(asking, "on behalf of another").await)
            }
            Step::AskSender(asking) => self.ask_sender(asking).await,
            Step::AskRecipient(asking) => Ok(self.ask_recipient(asking).await),
            Step::Receive(receiving) => self.message(wire, receiving).await,
            close @ (Step::StartTls(..) | Step::Close(..)) => Ok(close),
        }
    }

    fn refused(
        &self,
        client: &Client,
        stage: &'static str,
        subject: String,
        (reply, because): (&Reply, &Reason),
        originator: &ReversePath,
    ) {
        let refused = RefusalEvent {
            session: self.id,
            client,
            stage,
            subject,
            reply,
            because,
        };
        refused.emit(&self.context.events, originator);
    }

    fn aborted(&self, reason: String) {
        let (session, client) = (self.id.to_string(), self.client.clone());
        self.context.events.emit(Event::SessionAborted {
            session,
            client,
            reason,
        });
    }
}
