//! Reading and writing within time-outs, and how a dialogue ends before the machine says so.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, timeout_at};

use super::Driver;
use crate::session::transport::Stream;
use crate::session::wire::{COMMAND_ROOM, LineError, Wire};
use crate::session::{replies, stopped};
use host_mail::Reply;

/// Why a dialogue ends before the machine says so.
#[derive(Debug)]
pub enum Interrupted {
    /// The peer sent no line.
    Garbled(LineError, Reply),
    /// The peer was silent for too long, or the connection lasted too long.
    TimedOut,
    /// This host stops.
    Stopping,
    /// Another client needs the place; the operator knows.
    Evicted,
    /// The peer has gone, or the network; whether something was under way.
    Gone(bool),
    /// Plaintext followed STARTTLS.
    Injected,
}

impl Interrupted {
    /// The last reply, and what the operator is told.
    pub(super) fn farewell(self, hostname: &str) -> (Option<Reply>, Option<&'static str>) {
        match self {
            Self::Garbled(LineError::TooLong, reply) => (Some(reply), Some("a line without end")),
            Self::Garbled(LineError::BareLineEnd, reply) => (Some(reply), Some("a bare CR or LF in a command")),
            Self::TimedOut => (Some(replies::timed_out(hostname)), Some("timed out")),
            Self::Stopping => (Some(replies::stopping(hostname)), None),
            // Without a reason there is no lingering: the place is needed now.
            Self::Evicted => (Some(replies::evict(hostname)), None),
            Self::Gone(true) => (None, Some("connection lost within a transaction")),
            Self::Gone(false) => (None, None),
            Self::Injected => (Some(replies::injected()), Some("plaintext after STARTTLS")),
        }
    }

    /// A peer that goes while nothing is under way has just not said QUIT.
    pub(super) fn when(self, idle: bool) -> Self {
        match self {
            Self::Gone(_) => Self::Gone(!idle),
            other => other,
        }
    }
}

impl Driver {
    /// The next line. An idle connection ends when this host stops.
    pub(super) async fn line<S>(&mut self, wire: &mut Wire<S>, idle: bool) -> Result<BytesMut, Interrupted>
    where
        S: Stream,
    {
        let deadline = self.within(self.context.config.timeouts.command);
        let place = Arc::clone(&self.place);
        let _waiting = place.wait();
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
            // RFC 2920 section 3.2: the replies to everything read so far go out together, here.
            self.flush(wire).await.map_err(|lost| lost.when(idle))?;
            let read = tokio::select! {
                read = timeout_at(deadline, wire.fill(COMMAND_ROOM)) => read,
                () = place.told_to_make_way() => return Err(self.evicted()),
                () = stopped(&mut self.stop), if idle => return Err(Interrupted::Stopping),
            };
            heard(read).map_err(|lost| lost.when(idle))?;
        }
    }

    /// Writes what was said; a peer that does not read is treated as one that does not speak.
    pub async fn flush<S>(&self, wire: &mut Wire<S>) -> Result<(), Interrupted>
    where
        S: Stream,
    {
        let flushed = timeout_at(self.within(self.context.config.timeouts.command), wire.flush());
        match self.unless_told(flushed).await? {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Interrupted::Gone(true)),
            Err(_) => Err(Interrupted::TimedOut),
        }
    }

    /// Reads more of a message.
    pub async fn fill_data<S>(&self, wire: &mut Wire<S>, room: usize) -> Result<(), Interrupted>
    where
        S: Stream,
    {
        let filled = timeout_at(self.within(self.context.config.timeouts.data), wire.fill(room));
        heard(self.unless_told(filled).await?)
    }

    /// Waits for the peer, unless another client needs the place.
    pub(super) async fn unless_told<T>(&self, peer: impl Future<Output = T>) -> Result<T, Interrupted> {
        tokio::select! {
            done = peer => Ok(done),
            () = self.place.told_to_make_way() => Err(self.evicted()),
        }
    }

    fn evicted(&self) -> Interrupted {
        self.aborted("made way for another client".to_owned());
        Interrupted::Evicted
    }

    pub(super) async fn before_tls<S>(&mut self, wire: &mut Wire<S>, reply: Reply) -> Result<(), Interrupted>
    where
        S: Stream,
    {
        if !wire.input().is_empty() {
            return Err(Interrupted::Injected);
        }
        wire.say(&reply);
        self.with_permit(async |driver| {
            let _waiting = driver.place.wait();
            driver.flush(wire).await
        })
        .await
    }

    pub(super) fn within(&self, duration: Duration) -> Instant {
        Instant::now()
            .checked_add(duration)
            .map_or(self.ends, |deadline| deadline.min(self.ends))
    }
}

fn heard(read: Result<io::Result<usize>, tokio::time::error::Elapsed>) -> Result<(), Interrupted> {
    match read {
        Err(_) => Err(Interrupted::TimedOut),
        Ok(Ok(0) | Err(_)) => Err(Interrupted::Gone(true)),
        Ok(Ok(_)) => Ok(()),
    }
}
