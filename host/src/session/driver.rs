//! Reads, steps the machine, performs what it says, writes, and tells the operator.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::machine::{self, AskRecipient, AskSender, Handshake, Receiving, Session, Step, Verified, Verifying};
use super::notices::Refused;
use super::receive::{Refusal, receive};
use super::settle::Arrival;
use super::wire::{COMMAND_ROOM, LineError, Wire};
use super::{SessionContext, replies};
use crate::event::Event;
use crate::mail::{Client, Reply, ReversePath, SessionId, TlsSession};
use crate::policy::{Admission, Because, PolicyTransaction, Terms, Verdict};

/// A TLS handshake takes no longer than this.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Writing the last reply takes no longer than this.
const FAREWELL: Duration = Duration::from_secs(5);
/// A failed AUTH is answered no sooner than this.
const AUTH_DELAY: Duration = Duration::from_secs(1);
/// Stands for a time-out that no clock can express.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

type Next = Step<PolicyTransaction>;

/// Why a dialogue ends before the machine says so.
#[derive(Debug)]
pub enum Lost {
    /// The peer sent no line.
    Garbled(LineError, Reply),
    /// The peer was silent for too long, or the connection lasted too long.
    TimedOut,
    /// This host stops.
    Stopping,
    /// The peer has gone, or the network; whether something was under way.
    Gone(bool),
    /// Plaintext followed STARTTLS.
    Injected,
}

impl Lost {
    /// The last reply, and what the operator is told.
    fn farewell(self, hostname: &str) -> (Option<Reply>, Option<&'static str>) {
        match self {
            Self::Garbled(LineError::TooLong, reply) => (Some(reply), Some("a line without end")),
            Self::Garbled(LineError::BareLineEnd, reply) => (Some(reply), Some("a bare CR or LF in a command")),
            Self::TimedOut => (Some(replies::timed_out(hostname)), Some("timed out")),
            Self::Stopping => (Some(replies::stopping(hostname)), Some("this host is stopping")),
            Self::Gone(true) => (None, Some("connection lost within a transaction")),
            Self::Gone(false) => (None, None),
            Self::Injected => (Some(replies::injected()), Some("plaintext after STARTTLS")),
        }
    }
}

/// One connection's driver.
pub struct Driver {
    context: SessionContext,
    id: SessionId,
    /// The peer's address, for events.
    client: String,
    stop: watch::Receiver<bool>,
    /// When the connection has lasted long enough.
    ends: Instant,
}

impl Driver {
    /// For a connection that was just accepted.
    pub fn new(context: SessionContext, client: &Client, stop: watch::Receiver<bool>) -> Self {
        let now = Instant::now();
        let lasts = context.config.timeouts.session;
        Self {
            id: SessionId::generate(),
            client: client.address.to_string(),
            stop,
            ends: now.checked_add(lasts).unwrap_or(now + FOREVER),
            context,
        }
    }

    /// Asks the policy about the connection. The error takes the banner's place.
    pub async fn admit(&self, client: &Client) -> Result<Terms, Reply> {
        let asked = Box::pin(self.context.policies.admit(self.id, client)).await;
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
    pub async fn secure<S>(&self, wire: Wire<S>) -> Option<(Wire<S>, TlsSession)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(acceptor) = &self.context.tls else {
            self.aborted("TLS is not configured".to_owned());
            return None;
        };
        let handshake = Box::pin(wire.into_transport().secure(acceptor));
        match timeout_at(self.within(HANDSHAKE), handshake).await {
            Ok(Ok((transport, session))) => return Some((Wire::new(transport), session)),
            Ok(Err(error)) => self.aborted(format!("TLS handshake: {error}")),
            Err(_) => self.aborted("TLS handshake: timed out".to_owned()),
        }
        None
    }

    /// The dialogue from the banner to the end.
    pub async fn converse<S>(mut self, mut wire: Wire<S>, session: Session)
    where
        S: AsyncRead + AsyncWrite + Unpin,
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
    pub async fn end<S>(&self, mut wire: Wire<S>, reply: Option<Reply>, reason: Option<&'static str>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let Some(reason) = reason {
            self.aborted(reason.to_owned());
        }
        let linger = reason.is_some() && reply.is_some();
        if let Some(reply) = reply {
            wire.say(&reply);
        }
        // What goes wrong now concerns nobody any more.
        let _ = timeout(FAREWELL, wire.close(linger)).await;
    }

    async fn perform<S>(&mut self, wire: &mut Wire<S>, step: Next) -> Result<Next, Lost>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match step {
            Step::Listen(reply, next) => {
                if let Some(reply) = reply {
                    wire.say(&reply);
                }
                let line = self.line(wire, next.is_between_transactions()).await?;
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
                wire.say(&reply);
                let line = self.line(wire, true).await.map_err(|lost| match lost {
                    Lost::Garbled(LineError::TooLong, _) => {
                        Lost::Garbled(LineError::TooLong, replies::exchange_too_long())
                    }
                    other => other,
                })?;
                Ok(next.response(&line))
            }
            Step::Verify(asking) => Ok(self.verify(asking).await),
            Step::Impersonation(asking) => Ok(self.denied(asking, "on behalf of another").await),
            Step::AskSender(asking) => Ok(self.ask_sender(asking).await),
            Step::AskRecipient(asking) => Ok(self.ask_recipient(asking).await),
            Step::Receive(receiving) => self.message(wire, receiving).await,
            close @ (Step::StartTls(..) | Step::Close(..)) => Ok(close),
        }
    }

    async fn verify(&self, asking: Verifying) -> Next {
        let credentials = &asking.credentials;
        let answer = self
            .context
            .directory
            .authenticate(&credentials.user, credentials.password.reveal());
        match answer.await {
            Ok(Some(account)) => asking.result(Verified::Account(account)),
            Ok(None) => self.denied(asking, "credentials").await,
            Err(error) => {
                self.auth_failed(&asking, error.to_string());
                asking.result(Verified::Unavailable)
            }
        }
    }

    /// Guessing is slow here, and an operator sees it.
    async fn denied(&self, asking: Verifying, reason: &str) -> Next {
        self.auth_failed(&asking, reason.to_owned());
        tokio::time::sleep(AUTH_DELAY).await;
        asking.result(Verified::Nobody)
    }

    fn auth_failed(&self, asking: &Verifying, reason: String) {
        self.context.events.emit(Event::AuthFailed {
            session: self.id.to_string(),
            client: self.client.clone(),
            mechanism: asking.credentials.mechanism.to_owned(),
            account: asking.credentials.user.clone(),
            reason,
        });
    }

    async fn ask_sender(&self, asking: AskSender) -> Next {
        let mut policy = self.context.policies.transaction(self.id);
        let (client, sender) = (&asking.session().client, &asking.mail().sender);
        let asked = Box::pin(policy.sender(client, sender)).await;
        if let Verdict::Reject(reply) | Verdict::Defer(reply) = &asked.answer {
            self.refused(client, "sender", sender.to_string(), (reply, &asked.because), sender);
        }
        asking.answer(asked.answer, policy)
    }

    async fn ask_recipient(&self, mut asking: AskRecipient<PolicyTransaction>) -> Next {
        let (client, recipient) = (&asking.session.client, &asking.recipient);
        let sender = &asking.transaction.envelope.sender;
        let asked = Box::pin(asking.transaction.policy.recipient(client, sender, recipient)).await;
        if let Verdict::Reject(reply) | Verdict::Defer(reply) = &asked.answer {
            self.refused(
                client,
                "recipient",
                recipient.to_string(),
                (reply, &asked.because),
                sender,
            );
        }
        asking.answer(asked.answer)
    }

    /// DATA, from the 354 to the reply to the final dot.
    async fn message<S>(&mut self, wire: &mut Wire<S>, mut asking: Receiving<PolicyTransaction>) -> Result<Next, Lost>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let draft = match self.context.spool.draft() {
            Ok(draft) => draft,
            Err(error) => return Ok(self.not_taken(asking, &error.into())),
        };
        wire.say(&replies::start_mail());
        let limit = asking.session.rules.message_size;
        let eight_bit = asking.allows_eight_bit();
        let draft = match Box::pin(receive(self, wire, draft, limit, eight_bit)).await? {
            Ok(draft) => draft,
            Err(refusal) => return Ok(self.not_taken(asking, &refusal)),
        };
        let arrival = Arrival {
            context: &self.context,
            session: self.id,
            client: &asking.session.client,
            extended: asking.session.extended,
            envelope: &asking.transaction.envelope,
        };
        let reply = Box::pin(arrival.settle(&mut asking.transaction.policy, draft)).await;
        Ok(asking.done(reply))
    }

    /// The host itself refuses; no policy was asked.
    fn not_taken(&self, asking: Receiving<PolicyTransaction>, refusal: &Refusal) -> Next {
        let sender = &asking.transaction.envelope.sender;
        let why = (&refusal.reply, &refusal.because);
        self.refused(&asking.session.client, "message", format!("from {sender}"), why, sender);
        asking.done(refusal.reply.clone())
    }

    fn refused(
        &self,
        client: &Client,
        stage: &'static str,
        subject: String,
        (reply, because): (&Reply, &Because),
        originator: &ReversePath,
    ) {
        let refused = Refused {
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

    /// The next line. An idle connection ends when this host stops.
    async fn line<S>(&mut self, wire: &mut Wire<S>, idle: bool) -> Result<BytesMut, Lost>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = self.within(self.context.config.timeouts.command);
        loop {
            if idle && *self.stop.borrow() {
                return Err(Lost::Stopping);
            }
            match wire.take_line() {
                Some(Ok(line)) => return Ok(line),
                Some(Err(LineError::TooLong)) => {
                    return Err(Lost::Garbled(LineError::TooLong, replies::command_too_long()));
                }
                Some(Err(LineError::BareLineEnd)) => {
                    return Err(Lost::Garbled(LineError::BareLineEnd, replies::bare_line_end()));
                }
                None => {}
            }
            // RFC 2920 section 3.2: the replies to everything read so far go out together, here.
            self.flush(wire).await.map_err(|lost| lost.when(idle))?;
            let read = tokio::select! {
                read = timeout_at(deadline, wire.fill(COMMAND_ROOM)) => read,
                () = stopped(&mut self.stop), if idle => return Err(Lost::Stopping),
            };
            heard(read).map_err(|lost| lost.when(idle))?;
        }
    }

    /// Writes what was said; a peer that does not read is treated as one that does not speak.
    pub async fn flush<S>(&self, wire: &mut Wire<S>) -> Result<(), Lost>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match timeout_at(self.within(self.context.config.timeouts.command), wire.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Lost::Gone(true)),
            Err(_) => Err(Lost::TimedOut),
        }
    }

    /// Reads more of a message.
    pub async fn fill_data<S>(&self, wire: &mut Wire<S>, room: usize) -> Result<(), Lost>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        heard(timeout_at(self.within(self.context.config.timeouts.data), wire.fill(room)).await)
    }

    async fn before_tls<S>(&self, wire: &mut Wire<S>, reply: Reply) -> Result<(), Lost>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if !wire.input().is_empty() {
            return Err(Lost::Injected);
        }
        wire.say(&reply);
        self.flush(wire).await
    }

    fn within(&self, duration: Duration) -> Instant {
        Instant::now()
            .checked_add(duration)
            .map_or(self.ends, |deadline| deadline.min(self.ends))
    }
}

impl Lost {
    /// A peer that goes while nothing is under way has just not said QUIT.
    fn when(self, idle: bool) -> Self {
        match self {
            Self::Gone(_) => Self::Gone(!idle),
            other => other,
        }
    }
}

fn heard(read: Result<io::Result<usize>, tokio::time::error::Elapsed>) -> Result<(), Lost> {
    match read {
        Err(_) => Err(Lost::TimedOut),
        Ok(Ok(0) | Err(_)) => Err(Lost::Gone(true)),
        Ok(Ok(_)) => Ok(()),
    }
}

/// A sender that is gone stops, too.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
