//! The reader of a message: takes the octets after DATA off the wire into a draft of the spool.

use super::replies;
use super::wire::{DATA_ROOM, Wire};
use crate::session::data_reader::{DataReader, Defect};
use crate::session::driver::input::{Interrupted, PeerIo};
use crate::session::transport::Stream;
use host_contract::Reason;
use host_mail::Reply;
use host_spool::{Draft, PutError};

/// Octets that count as progress and reset the idle time; fewer may be a client that only occupies a slot.
pub(super) const PROGRESS: usize = 16 * 1024;

/// A refusal of a message by the host.
#[derive(Debug)]
pub struct Rejection {
    /// Reply to the client.
    pub reply: Reply,
    /// Reason for the operator's event.
    pub because: Reason,
}

impl Rejection {
    /// Creates a rejection by a rule of the host.
    pub fn new(reply: Reply, rule: &str) -> Self {
        Self {
            reply,
            because: Reason::host(rule),
        }
    }
}

impl From<PutError> for Rejection {
    fn from(error: PutError) -> Self {
        let reply = match error {
            PutError::Full { .. } => replies::system_full(),
            PutError::Behind { .. } => replies::busy(),
            PutError::Store(_) => replies::system_error(),
        };
        let because = Reason {
            entry: Some(error.to_string()),
            ..Reason::host("spool")
        };
        Self { reply, because }
    }
}

impl From<Defect> for Rejection {
    fn from(defect: Defect) -> Self {
        let rule = match defect {
            Defect::BareCr(_) | Defect::BareLf(_) => "bare-line-end",
            Defect::Nul(_) => "nul",
            Defect::LongLine(_) => "line-length",
            Defect::EightBit => "undeclared-8bit",
        };
        Self::new(defect.reply(), rule)
    }
}

/// The reader of a single message.
pub struct MessageReader<'a, S> {
    /// Connection with its buffers.
    pub wire: &'a mut Wire<S>,
    /// Time-outs and the slot of the connection.
    pub peer: &'a PeerIo,
    /// Maximum size of the message, in octets.
    pub limit: u64,
    /// True if octets above 127 are allowed.
    pub eight_bit: bool,
}

impl<S: Stream> MessageReader<'_, S> {
    /// Reads the message into `draft`, and returns the draft and true if the message has octets above 127. A rejected message is read and discarded up to its end, so that the reply comes
    /// at the point where the client waits for a reply.
    pub async fn read(self, draft: Draft) -> Result<Result<(Draft, bool), Rejection>, Interrupted> {
        let Self {
            wire,
            peer,
            limit,
            eight_bit,
        } = self;
        let mut reader = DataReader::default();
        let mut kept = Ok(draft);
        let waiting = peer.wait();
        let mut until_progress = PROGRESS;
        loop {
            while !wire.input().is_empty() {
                let piece = reader.read(wire.input());
                kept = append_to(kept, piece.content, limit).await;
                let (consumed, ended) = (piece.consumed, piece.ended);
                wire.consume(consumed);
                until_progress = until_progress.saturating_sub(consumed);
                if until_progress == 0 {
                    waiting.reset_idle();
                    until_progress = PROGRESS;
                }
                if ended {
                    wire.shrink();
                    let sound = |draft| match reader.defect(eight_bit) {
                        None => Ok((draft, reader.has_eight_bit())),
                        Some(defect) => Err(defect.into()),
                    };
                    return Ok(kept.and_then(sound));
                }
            }
            peer.flush(wire).await?;
            peer.fill_data(wire, DATA_ROOM).await?;
        }
    }
}

/// Appends content to the draft. The first error drops the draft and frees its room while the rest is still arriving.
async fn append_to(kept: Result<Draft, Rejection>, content: &[u8], limit: u64) -> Result<Draft, Rejection> {
    let mut draft = kept?;
    append(&mut draft, content, limit).await?;
    Ok(draft)
}

/// Appends content to the draft, up to the limit on the size of a message.
pub(super) async fn append(draft: &mut Draft, content: &[u8], limit: u64) -> Result<(), Rejection> {
    if content.is_empty() {
        return Ok(());
    }
    if draft.size().saturating_add(content.len() as u64) > limit {
        return Err(Rejection::new(replies::too_big(), "message-size"));
    }
    draft.write(content).await?;
    Ok(())
}
