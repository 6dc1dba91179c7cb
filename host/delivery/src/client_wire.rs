//! The lines of an SMTP dialogue, from the client's side: commands out, replies in.

use std::io;

use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use host_mail::Reply;

use crate::reply_parser::{BadReply, MAX_LINE, ReplyReader};

/// What a dialogue runs over: TCP, a Unix socket, or TLS over either.
pub trait Io: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Io for T {}

/// Why a dialogue cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection failed.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// The remote closed the connection.
    #[error("connection closed by the remote")]
    Closed,
    /// What came is no reply.
    #[error(transparent)]
    BadReply(#[from] BadReply),
    /// The remote sent something before the TLS handshake that would count as said within TLS
    /// (RFC 3207 section 4.2).
    #[error("the remote sent data in the clear after its reply to STARTTLS")]
    Injected,
}

/// One dialogue. Nothing here has a time-out; callers put one around each call.
pub struct ClientWire {
    io: Box<dyn Io>,
    input: BytesMut,
    /// Lines of a reply that has not ended yet.
    reader: ReplyReader,
}

impl ClientWire {
    /// A dialogue over a connection that was just made.
    pub fn new(io: impl Io + 'static) -> Self {
        Self {
            io: Box::new(io),
            input: BytesMut::new(),
            reader: ReplyReader::default(),
        }
    }

    /// Sends octets as they are.
    pub async fn send(&mut self, octets: &[u8]) -> Result<(), WireError> {
        self.io.write_all(octets).await?;
        Ok(self.io.flush().await?)
    }

    /// The next reply. May be called again if it was dropped before it returned.
    pub async fn reply(&mut self) -> Result<Reply, WireError> {
        loop {
            while let Some(line) = self.take_line()? {
                if let Some(reply) = self.reader.line(&line)? {
                    return Ok(reply);
                }
            }
            self.input.reserve(MAX_LINE);
            if self.io.read_buf(&mut self.input).await? == 0 {
                return Err(WireError::Closed);
            }
        }
    }

    /// A line without its end, if there is one. A bare LF ends a line, too: nothing can be
    /// smuggled to a client.
    fn take_line(&mut self) -> Result<Option<BytesMut>, BadReply> {
        let Some(end) = self.input.iter().position(|b| *b == b'\n') else {
            return if self.input.len() > MAX_LINE {
                Err(BadReply::LineTooLong)
            } else {
                Ok(None)
            };
        };
        if end > MAX_LINE {
            return Err(BadReply::LineTooLong);
        }
        let mut line = self.input.split_to(end);
        self.input.advance(1);
        if line.last() == Some(&b'\r') {
            line.truncate(end - 1);
        }
        Ok(Some(line))
    }

    /// Whether the remote has said nothing since its last reply, and has not hung up.
    pub fn is_quiet(&mut self) -> bool {
        self.input.is_empty() && self.io.read_buf(&mut self.input).now_or_never().is_none()
    }

    /// The handshake after the remote's 220 to STARTTLS.
    pub async fn start_tls(self, connector: &TlsConnector, name: ServerName<'static>) -> Result<Self, WireError> {
        if !self.input.is_empty() {
            return Err(WireError::Injected);
        }
        Ok(Self::new(connector.connect(name, self.io).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn after(octets: &[u8]) -> ClientWire {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        far.write_all(octets).await.expect("room");
        ClientWire::new(near)
    }

    #[tokio::test]
    async fn replies_come_one_by_one() {
        let mut wire = after(b"250-a\r\n250 b\r\n354 go\n").await;
        assert_eq!(wire.reply().await.expect("first"), Reply::bare(250, "a\nb"));
        assert!(!wire.is_quiet());
        assert_eq!(wire.reply().await.expect("second"), Reply::bare(354, "go"));
        assert!(matches!(wire.reply().await, Err(WireError::Closed)));
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut_off() {
        let mut wire = after(&[b'2'; 10_000]).await;
        let error = wire.reply().await.expect_err("no reply");
        assert!(matches!(error, WireError::BadReply(BadReply::LineTooLong)), "{error}");
    }

    #[tokio::test]
    async fn quiet_means_silent_and_open() {
        let (near, far) = tokio::io::duplex(64);
        let mut wire = ClientWire::new(near);
        assert!(wire.is_quiet());
        drop(far);
        assert!(!wire.is_quiet());
    }
}
