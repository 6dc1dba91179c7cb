//! Lines of an SMTP dialogue on the client's side: commands out, replies in.

use std::io;

use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ProtocolVersion, SupportedCipherSuite};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use host_mail::Reply;

use crate::reply_parser::{BadReply, MAX_LINE, ReplyReader};

/// Transport of a dialogue: TCP, a Unix socket, or TLS over either.
pub trait Io: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Io for T {}

/// Error after which a dialogue cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection failed.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// The remote closed the connection.
    #[error("connection closed by the remote")]
    Closed,
    /// The remote sent something that is not an SMTP reply.
    #[error(transparent)]
    BadReply(#[from] BadReply),
    /// The remote sent data before the TLS handshake that would be taken for a reply within TLS (RFC 3207 section 4.2).
    #[error("the remote sent data in the clear after its reply to STARTTLS")]
    Injected,
}

impl WireError {
    /// True if the remote did not answer in time.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::TimedOut)
    }
}

/// Facts of a TLS session.
pub struct ClientTlsSession {
    /// Protocol version.
    pub version: Option<ProtocolVersion>,
    /// Cipher suite.
    pub cipher: Option<SupportedCipherSuite>,
    /// Certificates of the server, the server's own first.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// A dialogue with a server. The methods have no timeouts; callers limit each call.
pub struct ClientWire {
    io: Box<dyn Io>,
    input: BytesMut,
    /// Lines of a reply that has not ended yet.
    reader: ReplyReader,
}

impl ClientWire {
    /// Starts a dialogue over a new connection.
    pub fn new(io: impl Io + 'static) -> Self {
        Self {
            io: Box::new(io),
            input: BytesMut::new(),
            reader: ReplyReader::default(),
        }
    }

    /// Sends octets unchanged, and flushes.
    pub async fn send(&mut self, octets: &[u8]) -> Result<(), WireError> {
        self.io.write_all(octets).await?;
        Ok(self.io.flush().await?)
    }

    /// Reads the next reply. Cancel safe: a call after a dropped call continues with the same reply.
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

    /// Takes a complete line, without the line end, from the input. A bare LF ends a line, too: smuggling concerns
    /// servers only.
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

    /// True if the remote has sent no data since the last reply and has not closed the connection.
    pub fn is_quiet(&mut self) -> bool {
        self.input.is_empty() && self.io.read_buf(&mut self.input).now_or_never().is_none()
    }

    /// Runs the TLS handshake, after the remote's 220 to STARTTLS.
    /// Returns the dialogue within TLS and the facts of the session.
    pub async fn start_tls(
        self,
        connector: &TlsConnector,
        name: ServerName<'static>,
    ) -> Result<(Self, ClientTlsSession), WireError> {
        if !self.input.is_empty() {
            return Err(WireError::Injected);
        }
        let stream = connector.connect(name, self.io).await?;
        let (_, connection) = stream.get_ref();
        let session = ClientTlsSession {
            version: connection.protocol_version(),
            cipher: connection.negotiated_cipher_suite(),
            certificates: connection
                .peer_certificates()
                .unwrap_or_default()
                .iter()
                .map(|certificate| certificate.clone().into_owned())
                .collect(),
        };
        Ok((Self::new(stream), session))
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
    async fn reads_replies_in_sequence() {
        let mut wire = after(b"250-a\r\n250 b\r\n354 go\n").await;
        assert_eq!(wire.reply().await.expect("first"), Reply::bare(250, "a\nb"));
        assert!(!wire.is_quiet());
        assert_eq!(wire.reply().await.expect("second"), Reply::bare(354, "go"));
        assert!(matches!(wire.reply().await, Err(WireError::Closed)));
    }

    #[tokio::test]
    async fn refuses_an_endless_line() {
        let mut wire = after(&[b'2'; 10_000]).await;
        let error = wire.reply().await.expect_err("no reply");
        assert!(matches!(error, WireError::BadReply(BadReply::LineTooLong)), "{error}");
    }

    #[tokio::test]
    async fn is_quiet_while_the_remote_is_silent_and_connected() {
        let (near, far) = tokio::io::duplex(64);
        let mut wire = ClientWire::new(near);
        assert!(wire.is_quiet());
        drop(far);
        assert!(!wire.is_quiet());
    }
}
