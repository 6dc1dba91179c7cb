//! Reads and writes within time-outs, and the interruptions of a dialogue.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::session::connection_slot::{ConnectionSlot, WaitingGuard};
use crate::session::context::SessionContext;
use crate::session::replies;
use crate::session::transport::Stream;
use crate::session::wire::{COMMAND_ROOM, LineError, Wire};
use crate::shutdown::stopped;
use host_events::{Event, Events};
use host_mail::{Client, Reply, SessionId};

/// Stands for a session time-out beyond the range of the clock.
const NO_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reason for which a dialogue ends without a step of the machine.
#[derive(Debug)]
pub enum Interrupted {
    /// Peer sent octets that are not a line; with the reply.
    Garbled(LineError, Reply),
    /// Peer was silent for too long, or the connection reached its maximum duration.
    TimedOut,
    /// Host is shutting down.
    Stopping,
    /// Slot was evicted for another client; the event has been emitted.
    Evicted,
    /// Peer or network is gone; true if a transaction may have been lost.
    Gone(bool),
    /// Plaintext followed STARTTLS.
    Injected,
}

impl Interrupted {
    /// Returns the last reply, and the reason for the operator's event.
    pub(super) fn closing_reply(self, hostname: &str) -> (Option<Reply>, Option<&'static str>) {
        match self {
            Self::Garbled(LineError::TooLong, reply) => (Some(reply), Some("a line without end")),
            Self::Garbled(LineError::BareLineEnd, reply) => (Some(reply), Some("a bare CR or LF in a command")),
            Self::TimedOut => (Some(replies::timed_out(hostname)), Some("timed out")),
            Self::Stopping => (Some(replies::stopping(hostname)), None),
            // Without a reason the close does not linger: the slot is needed now.
            Self::Evicted => (Some(replies::evict(hostname)), None),
            Self::Gone(true) => (None, Some("connection lost within a transaction")),
            Self::Gone(false) => (None, None),
            Self::Injected => (Some(replies::injected()), Some("plaintext after STARTTLS")),
        }
    }

    /// Marks a lost connection as harmless if the dialogue was idle: the peer only omitted QUIT.
    pub(super) fn while_idle(self, idle: bool) -> Self {
        match self {
            Self::Gone(_) => Self::Gone(!idle),
            other => other,
        }
    }
}

/// The peer of a connection. Each wait for the peer has a time-out and ends early if the connection's slot is evicted.
pub struct PeerIo {
    /// Identifier of the session, for events.
    pub(super) session: SessionId,
    /// Address of the peer, for events.
    pub(super) address: String,
    /// Turns true when the host stops.
    pub(super) stop: watch::Receiver<bool>,
    slot: Arc<ConnectionSlot>,
    events: Events,
    command_timeout: Duration,
    data_timeout: Duration,
    /// End of the connection's maximum duration.
    ends: Instant,
}

impl PeerIo {
    /// Creates the peer of a connection that was just accepted. The maximum duration starts now.
    pub(super) fn new(
        context: &SessionContext,
        client: &Client,
        slot: Arc<ConnectionSlot>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let now = Instant::now();
        let timeouts = &context.config.timeouts;
        Self {
            session: SessionId::generate(),
            address: client.address.to_string(),
            stop,
            slot,
            events: context.events.clone(),
            command_timeout: timeouts.command,
            data_timeout: timeouts.data,
            ends: now.checked_add(timeouts.session).unwrap_or(now + NO_LIMIT),
        }
    }

    /// Marks the session as waiting for the peer until the guard is dropped.
    pub fn wait(&self) -> WaitingGuard<'_> {
        self.slot.wait()
    }

    /// Returns the next line, after writing pending replies. An `idle` connection ends when the host stops.
    pub(super) async fn line<S>(&mut self, wire: &mut Wire<S>, idle: bool) -> Result<BytesMut, Interrupted>
    where
        S: Stream,
    {
        let deadline = self.deadline(self.command_timeout);
        let _waiting = self.slot.wait();
        loop {
            if idle && *self.stop.borrow() {
                return Err(Interrupted::Stopping);
            }
            match wire.take_line() {
                Some(Ok(line)) => return Ok(line),
                Some(Err(LineError::TooLong)) => {
                    return Err(Interrupted::Garbled(LineError::TooLong, replies::command_too_long()));
                }
                Some(Err(LineError::BareLineEnd)) => {
                    return Err(Interrupted::Garbled(LineError::BareLineEnd, replies::bare_line_end()));
                }
                None => {}
            }
            // RFC 2920 section 3.2: the replies to all commands read so far are written together.
            self.flush(wire)
                .await
                .map_err(|interrupted| interrupted.while_idle(idle))?;
            let read = tokio::select! {
                read = timeout_at(deadline, wire.fill(COMMAND_ROOM)) => read,
                () = self.slot.evicted() => return Err(self.evicted()),
                () = stopped(&mut self.stop), if idle => return Err(Interrupted::Stopping),
            };
            check_read(read).map_err(|interrupted| interrupted.while_idle(idle))?;
        }
    }

    /// Writes pending replies. A peer that does not read times out like a peer that does not send.
    pub async fn flush<S>(&self, wire: &mut Wire<S>) -> Result<(), Interrupted>
    where
        S: Stream,
    {
        let flushed = timeout_at(self.deadline(self.command_timeout), wire.flush());
        match self.unless_evicted(flushed).await? {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Interrupted::Gone(true)),
            Err(_) => Err(Interrupted::TimedOut),
        }
    }

    /// Reads the next part of a message, at most `room` octets.
    pub async fn fill_data<S>(&self, wire: &mut Wire<S>, room: usize) -> Result<(), Interrupted>
    where
        S: Stream,
    {
        let filled = timeout_at(self.deadline(self.data_timeout), wire.fill(room));
        check_read(self.unless_evicted(filled).await?)
    }

    /// Runs `work`, on which the peer waits, until the peer closes the connection. Input that arrives meanwhile is kept.
    pub(super) async fn while_connected<S, T>(
        &self,
        wire: &mut Wire<S>,
        work: impl Future<Output = T>,
    ) -> Result<T, Interrupted>
    where
        S: Stream,
    {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = wire.closed_by_peer() => Err(Interrupted::Gone(false)),
        }
    }

    /// Writes pending replies, and waits before the reply to a mistake of the peer. The wait ends early if the peer is
    /// gone, the host stops or the slot is evicted.
    pub(super) async fn pause<S>(&mut self, wire: &mut Wire<S>, duration: Duration) -> Result<(), Interrupted>
    where
        S: Stream,
    {
        self.flush(wire).await?;
        let deadline = self.deadline(duration);
        tokio::select! {
            () = tokio::time::sleep_until(deadline) => Ok(()),
            () = wire.closed_by_peer() => Err(Interrupted::Gone(false)),
            () = self.slot.evicted() => Err(self.evicted()),
            () = stopped(&mut self.stop) => Ok(()),
        }
    }

    /// Runs `work`, which waits for the peer, until the slot is evicted.
    pub(super) async fn unless_evicted<T>(&self, work: impl Future<Output = T>) -> Result<T, Interrupted> {
        tokio::select! {
            done = work => Ok(done),
            () = self.slot.evicted() => Err(self.evicted()),
        }
    }

    /// Returns the end of a time-out that starts now, at most the end of the connection.
    pub(super) fn deadline(&self, duration: Duration) -> Instant {
        Instant::now()
            .checked_add(duration)
            .map_or(self.ends, |deadline| deadline.min(self.ends))
    }

    /// Emits the event of a session that ended before its time.
    pub(super) fn aborted(&self, reason: String) {
        let (session, client) = (self.session.to_string(), self.address.clone());
        self.events.emit(Event::SessionAborted {
            session,
            client,
            reason,
        });
    }

    fn evicted(&self) -> Interrupted {
        self.aborted("made way for another client".to_owned());
        Interrupted::Evicted
    }
}

fn check_read(read: Result<io::Result<usize>, tokio::time::error::Elapsed>) -> Result<(), Interrupted> {
    match read {
        Err(_) => Err(Interrupted::TimedOut),
        Ok(Ok(0) | Err(_)) => Err(Interrupted::Gone(true)),
        Ok(Ok(_)) => Ok(()),
    }
}
