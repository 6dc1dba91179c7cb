//! A message that is being received in chunks (BDAT, RFC 3030).

use super::replies;
use super::wire::{DATA_ROOM, Wire};
use crate::session::chunk_reader::{ChunkReader, ChunkedContent};
use crate::session::connection_slot::WaitingGuard;
use crate::session::driver::input::{Interrupted, PeerIo};
use crate::session::receive::{PROGRESS, Rejection, append};
use crate::session::transport::Stream;
use host_mail::BodyType;
use host_spool::Draft;

/// A message between its first and its last chunk.
pub struct ChunkedMessage {
    /// The octets so far, or the first reason for which the message is refused.
    kept: Result<Draft, Rejection>,
    reader: ChunkReader,
}

/// A complete message that came in chunks.
pub struct CompleteChunks {
    /// The octets.
    pub draft: Draft,
    /// Type of the body, by the octets.
    pub body: BodyType,
}

impl ChunkedMessage {
    /// Begins a message in `draft`, or one that is refused already.
    pub fn new(draft: Result<Draft, Rejection>) -> Self {
        Self {
            kept: draft,
            reader: ChunkReader::default(),
        }
    }

    /// Reason for which the message is refused.
    pub fn refusal(&self) -> Option<&Rejection> {
        self.kept.as_ref().err()
    }

    /// Reads a chunk of `size` octets. The octets of a refused message are read and discarded, so that the reply comes
    /// at the point where the client waits for it, and no octet is taken for a command.
    pub async fn read<S>(&mut self, wire: &mut Wire<S>, peer: &PeerIo, size: u64, limit: u64) -> Result<(), Interrupted>
    where
        S: Stream,
    {
        // Refused before the octets take room on the disk.
        let announced = self.kept.as_ref().map_or(0, |draft| draft.size().saturating_add(size));
        if announced > limit {
            self.kept = Err(Rejection::new(replies::too_big(), "message-size"));
        }
        let mut chunk = Chunk::new(wire, peer, size);
        while let Some(octets) = chunk.next().await? {
            if let Ok(draft) = &mut self.kept {
                self.reader.read(octets);
                if let Err(refusal) = append(draft, octets, limit).await {
                    self.kept = Err(refusal);
                }
            }
            let read = octets.len();
            chunk.consume(read);
        }
        Ok(())
    }

    /// Ends the message. A message of lines that lacks the last CR LF gets it, as DATA would have carried it. `eight_bit`
    /// is true if octets above 127 need no announcement.
    pub async fn finish(self, declared: BodyType, eight_bit: bool) -> Result<CompleteChunks, Rejection> {
        let mut draft = self.kept?;
        let content = self.reader.finish();
        let body = body_type(content, declared, eight_bit)?;
        if body != BodyType::Binary && !content.ends_line {
            draft.write(b"\r\n").await?;
        }
        Ok(CompleteChunks { draft, body })
    }
}

/// Returns the type of the body: binary only if the body was declared so and is no text, so that other mail goes to any
/// host.
fn body_type(content: ChunkedContent, declared: BodyType, eight_bit: bool) -> Result<BodyType, Rejection> {
    match (content.defect, declared) {
        (None, BodyType::SevenBit) if content.eight_bit && !eight_bit => {
            Err(Rejection::new(replies::undeclared_eight_bit(), "undeclared-8bit"))
        }
        (None, _) if content.eight_bit => Ok(BodyType::EightBitMime),
        (None, _) => Ok(BodyType::SevenBit),
        (Some(_), BodyType::Binary) => content
            .header_defect
            .map_or(Ok(BodyType::Binary), |defect| Err(defect.into())),
        (Some(defect), _) => Err(defect.into()),
    }
}

/// Discards octets of the peer that no command and no message may become.
pub async fn discard<S>(wire: &mut Wire<S>, peer: &PeerIo, octets: u64) -> Result<(), Interrupted>
where
    S: Stream,
{
    let mut chunk = Chunk::new(wire, peer, octets);
    while let Some(octets) = chunk.next().await? {
        let read = octets.len();
        chunk.consume(read);
    }
    Ok(())
}

/// The octets that follow a BDAT command.
struct Chunk<'a, S> {
    wire: &'a mut Wire<S>,
    peer: &'a PeerIo,
    waiting: WaitingGuard<'a>,
    /// Octets that are still to be read.
    left: u64,
    /// Octets until the session counts as active again.
    until_progress: usize,
}

impl<'a, S: Stream> Chunk<'a, S> {
    fn new(wire: &'a mut Wire<S>, peer: &'a PeerIo, size: u64) -> Self {
        Self {
            waiting: peer.wait(),
            wire,
            peer,
            left: size,
            until_progress: PROGRESS,
        }
    }

    /// Returns the next octets of the chunk that have arrived, waiting if there are none; `None` after the last.
    async fn next(&mut self) -> Result<Option<&[u8]>, Interrupted> {
        if self.left == 0 {
            self.wire.shrink();
            return Ok(None);
        }
        if self.wire.input().is_empty() {
            self.peer.flush(self.wire).await?;
            self.peer.fill_data(self.wire, DATA_ROOM).await?;
        }
        let input = self.wire.input();
        let mine = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        Ok(Some(&input[..mine]))
    }

    fn consume(&mut self, octets: usize) {
        self.wire.consume(octets);
        self.left = self.left.saturating_sub(octets as u64);
        self.until_progress = self.until_progress.saturating_sub(octets);
        if self.until_progress == 0 {
            self.waiting.reset_idle();
            self.until_progress = PROGRESS;
        }
    }
}
