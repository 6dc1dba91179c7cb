//! Octets to and from the peer: buffers and lines. Knows nothing of SMTP but how a line ends.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::command::MAX_LINE;
use crate::session::transport::{Stream, Transport};
use host_mail::Reply;

/// Room for commands: what an idle connection holds.
pub const COMMAND_ROOM: usize = 2 * 1024;
/// Room for replies that is kept.
const REPLY_ROOM: usize = 512;
/// Room for a message passing through.
pub const DATA_ROOM: usize = 32 * 1024;
/// What a peer may still send to a connection that is being closed.
const LINGER: usize = 256 * 1024;

/// Why a line is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineError {
    /// No end within [`MAX_LINE`] octets.
    TooLong,
    /// A CR or LF that is not part of a CR LF.
    BareLineEnd,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// The peer said QUIT, sends nothing more, and waits for the reply.
    Agreed,
    /// The peer has not begun, or is gone.
    Unbegun,
    /// The peer may be sending still, and closing on what it sends would make its TCP throw our last reply away.
    Interrupted,
}

/// A connection with its buffers.
#[derive(Debug)]
pub struct Wire<S> {
    transport: Transport<S>,
    input: BytesMut,
    /// Octets of `input` known to hold no LF, so that a line that drips in is not searched again.
    searched: usize,
    output: Vec<u8>,
}

impl<S: Stream> Wire<S> {
    /// Nothing read or written yet.
    pub fn new(transport: Transport<S>) -> Self {
        Self {
            transport,
            input: BytesMut::new(),
            searched: 0,
            output: Vec::new(),
        }
    }

    /// The stream below; buffers must be empty.
    pub fn into_transport(self) -> Transport<S> {
        self.transport
    }

    /// The stream below.
    pub fn transport(&self) -> &Transport<S> {
        &self.transport
    }

    /// Adds a reply to what the next [`Self::flush`] writes.
    pub fn say(&mut self, reply: &Reply) {
        reply.write_to(&mut self.output);
    }

    /// Writes what was said, at once.
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

    /// Reads what there is, up to `room` octets; 0 is the end. Cancelled, it has read nothing.
    pub async fn fill(&mut self, room: usize) -> io::Result<usize> {
        self.input.reserve(room);
        self.transport.read_buf(&mut self.input).await
    }

    /// What was read and is not yet taken.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Takes octets off the front of the input.
    pub fn consume(&mut self, octets: usize) {
        self.input.advance(octets.min(self.input.len()));
        self.searched = 0;
    }

    /// Gives back the room a message took.
    pub fn shrink(&mut self) {
        if self.input.capacity() > COMMAND_ROOM {
            self.input = BytesMut::from(&self.input[..]);
        }
    }

    /// The next line without its CR LF, if it is there.
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

    /// Writes what was said and ends the connection, which is to be dropped then.
    pub async fn close(&mut self, parting: Parting) -> io::Result<()> {
        if let (Transport::Plain(stream), Parting::Agreed) = (&self.transport, parting) {
            stream.cork();
        }
        self.flush().await?;
        if let (Transport::Plain(_), Parting::Unbegun) = (&self.transport, parting) {
            // Dropping the socket says the same.
            return Ok(());
        }
        // What is corked leaves with this, whatever the peer has sent that nobody reads.
        self.transport.shutdown().await?;
        let linger = parting == Parting::Interrupted;
        let mut heard = 0;
        while linger && heard < LINGER {
            self.input.clear();
            match self.fill(COMMAND_ROOM).await? {
                0 => break,
                octets => heard += octets,
            }
        }
        Ok(())
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
    async fn lines_end_with_crlf_and_nothing_else() {
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
    async fn a_line_that_never_ends_is_bounded() {
        let mut longest = vec![b'x'; MAX_LINE - 2];
        longest.extend_from_slice(b"\r\n");
        assert_eq!(lines_of(&longest).await.len(), 1);
        assert!(lines_of(&longest).await[0].is_ok());
        longest.insert(0, b'x');
        assert_eq!(lines_of(&longest).await, [Err(LineError::TooLong)]);
        assert_eq!(lines_of(&vec![b'x'; 60_000]).await, [Err(LineError::TooLong)]);
    }

    #[tokio::test]
    async fn replies_go_out_together() {
        let (mut wire, mut peer) = pair();
        wire.say(&Reply::bare(250, "one"));
        wire.say(&Reply::bare(250, "two"));
        wire.flush().await.expect("duplex");
        let mut got = [0; 64];
        let octets = peer.read(&mut got).await.expect("duplex");
        assert_eq!(&got[..octets], b"250 one\r\n250 two\r\n");
    }

    #[tokio::test]
    async fn room_for_a_message_is_given_back() {
        let (mut wire, mut peer) = pair();
        peer.write_all(&[b'x'; 40_000]).await.expect("room enough");
        wire.fill(DATA_ROOM).await.expect("duplex");
        wire.consume(wire.input().len() - 3);
        wire.shrink();
        assert_eq!(wire.input(), b"xxx");
        assert!(wire.input.capacity() <= COMMAND_ROOM);
    }
}
