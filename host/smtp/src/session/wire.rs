//! Buffered octets and lines to and from the peer. Independent of SMTP, except for the line end.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::command::MAX_LINE;
use crate::session::transport::{Stream, Transport};
use host_mail::Reply;

/// Buffer for commands, in octets: the memory of an idle connection.
pub const COMMAND_ROOM: usize = 2 * 1024;
/// Buffer for replies that is kept between replies, in octets.
const REPLY_ROOM: usize = 512;
/// Buffer for reading a message, in octets.
pub const DATA_ROOM: usize = 32 * 1024;
/// Maximum number of octets that are read and discarded from a connection that is being closed.
pub const LINGER: usize = 256 * 1024;

/// A defect of a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineError {
    /// Line has no end within [`MAX_LINE`] octets.
    TooLong,
    /// Line contains a CR or LF outside of CR LF.
    BareLineEnd,
}

/// The way a connection is closed. Closing on unread octets would reset the connection, and the peer's TCP might
/// discard the last reply: octets that have arrived are read and discarded first, in every mode with a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseMode {
    /// Peer sent QUIT, sends no more, and waits for the reply.
    AfterQuit,
    /// Peer has not begun, or loses the slot to another client: the connection is closed at once unless there are
    /// unread octets.
    IfUnread,
    /// Peer may still be sending: the connection stays half open until the peer closes it.
    Linger,
    /// Peer is gone: there is no reply.
    Gone,
}

/// A connection with buffers.
#[derive(Debug)]
pub struct Wire<S> {
    transport: Transport<S>,
    input: BytesMut,
    /// Number of octets of `input` known to hold no LF, so that a line that arrives in pieces is searched once.
    searched: usize,
    output: Vec<u8>,
}

impl<S: Stream> Wire<S> {
    /// Wraps a transport. Reads and writes nothing.
    pub fn new(transport: Transport<S>) -> Self {
        Self {
            transport,
            input: BytesMut::new(),
            searched: 0,
            output: Vec::new(),
        }
    }

    /// Unwraps the transport; buffers must be empty.
    pub fn into_transport(self) -> Transport<S> {
        self.transport
    }

    /// Transport below.
    pub fn transport(&self) -> &Transport<S> {
        &self.transport
    }

    /// Adds a reply to the octets that the next [`Self::flush`] writes.
    pub fn queue_reply(&mut self, reply: &Reply) {
        reply.write_to(&mut self.output);
    }

    /// Writes all queued replies together.
    pub async fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        self.transport.write_all(&self.output).await?;
        self.transport.flush().await?;
        self.output.clear();
        self.output.shrink_to(REPLY_ROOM);
        Ok(())
    }

    /// Reads available octets into a buffer with at least `room` free octets; 0 is the end of the stream. Cancel safe.
    pub async fn fill(&mut self, room: usize) -> io::Result<usize> {
        self.input.reserve(room);
        self.transport.read_buf(&mut self.input).await
    }

    /// Returns when the peer has closed the connection and nothing of the peer's input is left to process. Input that
    /// arrives meanwhile is kept, up to [`MAX_LINE`] octets; more stays in the kernel's buffer. Cancel safe.
    pub async fn closed_by_peer(&mut self) {
        while self.input.len() < MAX_LINE {
            match self.fill(COMMAND_ROOM).await {
                Ok(1..) => {}
                Ok(0) if !self.input.is_empty() => break,
                Ok(0) | Err(_) => return,
            }
        }
        std::future::pending().await
    }

    /// Octets that were read and not yet taken.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Removes octets from the front of the input.
    pub fn consume(&mut self, octets: usize) {
        self.input.advance(octets.min(self.input.len()));
        self.searched = 0;
    }

    /// Frees the buffer of a message.
    pub fn shrink(&mut self) {
        if self.input.capacity() > COMMAND_ROOM {
            self.input = BytesMut::from(&self.input[..]);
        }
    }

    /// Takes the next line without CR LF; `None` if no whole line has been read.
    pub fn take_line(&mut self) -> Option<Result<BytesMut, LineError>> {
        let Some(lf) = memchr::memchr(b'\n', &self.input[self.searched..]) else {
            self.searched = self.input.len();
            return (self.input.len() >= MAX_LINE).then_some(Err(LineError::TooLong));
        };
        let mut line = self.input.split_to(self.searched + lf + 1);
        self.searched = 0;
        if line.len() > MAX_LINE {
            return Some(Err(LineError::TooLong));
        }
        line.truncate(line.len() - 1);
        match memchr::memchr(b'\r', &line) {
            Some(cr) if cr + 1 == line.len() => line.truncate(cr),
            _ => return Some(Err(LineError::BareLineEnd)),
        }
        Some(Ok(line))
    }

    /// Writes queued replies and ends the connection. The caller drops the connection afterwards.
    pub async fn close(&mut self, mode: CloseMode) -> io::Result<()> {
        if let (Transport::Plain(stream), CloseMode::AfterQuit) = (&self.transport, mode) {
            stream.cork();
        }
        self.flush().await?;
        let mut linger = mode == CloseMode::Linger || (mode != CloseMode::Gone && self.has_unread());
        if let (Transport::Plain(_), CloseMode::IfUnread | CloseMode::Gone, false) = (&self.transport, mode, linger) {
            // Dropping the socket ends the stream.
            return Ok(());
        }
        // Sends corked replies, and the end of the stream.
        self.transport.shutdown().await?;
        let mut discarded = 0;
        while linger && discarded < LINGER {
            self.input.clear();
            match self.fill(COMMAND_ROOM).await? {
                0 => break,
                octets => discarded += octets,
            }
            linger = mode == CloseMode::Linger || self.has_unread();
        }
        Ok(())
    }

    /// True if octets of the peer wait in the kernel's buffer.
    fn has_unread(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.has_unread(),
            Transport::Tls(stream) => stream.get_ref().0.has_unread(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::DuplexStream;

    fn pair() -> (Wire<DuplexStream>, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        (Wire::new(Transport::Plain(ours)), theirs)
    }

    async fn lines_of(input: &[u8]) -> Vec<Result<Vec<u8>, LineError>> {
        let (mut wire, mut peer) = pair();
        peer.write_all(input).await.expect("room enough");
        drop(peer);
        let mut lines = Vec::new();
        loop {
            while let Some(line) = wire.take_line() {
                let failed = line.is_err();
                lines.push(line.map(|line| line.to_vec()));
                if failed {
                    return lines;
                }
            }
            if wire.fill(100).await.expect("duplex") == 0 {
                return lines;
            }
        }
    }

    #[tokio::test]
    async fn accepts_crlf_as_the_only_line_end() {
        let ok = |text: &str| Ok(text.as_bytes().to_vec());
        assert_eq!(
            lines_of(b"NOOP\r\n\r\nQUIT\r\nx").await,
            [ok("NOOP"), ok(""), ok("QUIT")]
        );
        for bad in [
            &b"NOOP\n"[..],
            b"\n",
            b"NO\rOP\r\n",
            b"NOOP\r\r\n",
            b"\rNOOP\n",
            b"NOOP\rQUIT\n",
        ] {
            assert_eq!(
                lines_of(bad).await,
                [Err(LineError::BareLineEnd)],
                "{}",
                bad.escape_ascii()
            );
        }
    }

    #[tokio::test]
    async fn refuses_a_line_longer_than_the_maximum() {
        let mut longest = vec![b'x'; MAX_LINE - 2];
        longest.extend_from_slice(b"\r\n");
        assert_eq!(lines_of(&longest).await.len(), 1);
        assert!(lines_of(&longest).await[0].is_ok());
        longest.insert(0, b'x');
        assert_eq!(lines_of(&longest).await, [Err(LineError::TooLong)]);
        assert_eq!(lines_of(&vec![b'x'; 60_000]).await, [Err(LineError::TooLong)]);
    }

    #[tokio::test]
    async fn writes_queued_replies_together() {
        let (mut wire, mut peer) = pair();
        wire.queue_reply(&Reply::bare(250, "one"));
        wire.queue_reply(&Reply::bare(250, "two"));
        wire.flush().await.expect("duplex");
        let mut got = [0; 64];
        let octets = peer.read(&mut got).await.expect("duplex");
        assert_eq!(&got[..octets], b"250 one\r\n250 two\r\n");
    }

    #[tokio::test]
    async fn shrink_frees_the_message_buffer() {
        let (mut wire, mut peer) = pair();
        peer.write_all(&[b'x'; 40_000]).await.expect("room enough");
        wire.fill(DATA_ROOM).await.expect("duplex");
        wire.consume(wire.input().len() - 3);
        wire.shrink();
        assert_eq!(wire.input(), b"xxx");
        assert!(wire.input.capacity() <= COMMAND_ROOM);
    }
}
