//! A stream in the clear or under TLS, and the description of a TLS session.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ProtocolVersion, ServerConnection};
use tokio_rustls::server::TlsStream;

use crate::session::client_certificate::ClientCertificate;
use crate::session::scram_exchange::ChannelBinding;
use host_mail::TlsSession;

/// A byte stream below a session.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Holds back written octets until `shutdown`. Called when `shutdown` follows at once, so that both leave as one
    /// packet and the peer is woken once. Does nothing by default.
    fn cork(&self) {}

    /// True if octets of the peer wait in the kernel's buffer. False by default.
    fn has_unread(&self) -> bool {
        false
    }
}

impl Stream for TcpStream {
    fn cork(&self) {
        // An error is harmless: two packets leave instead of one.
        let _ = rustix::net::sockopt::set_tcp_cork(self, true);
    }

    fn has_unread(&self) -> bool {
        rustix::io::ioctl_fionread(self).is_ok_and(|octets| octets > 0)
    }
}

#[cfg(test)]
impl Stream for tokio::io::DuplexStream {}

/// Facts about a TLS session.
#[derive(Debug)]
pub struct Secured {
    /// Parameters, for policies and trace fields.
    pub session: TlsSession,
    /// Data of `tls-exporter` (RFC 9266); under TLS 1.3 alone, since TLS 1.2 would need a further check.
    pub channel_binding: Option<ChannelBinding>,
    /// Names in the client's verified certificate, if it has shown one.
    pub certificate_names: Option<Vec<String>>,
}

/// A connection's stream.
#[derive(Debug)]
pub enum Transport<S> {
    /// Plaintext stream.
    Plain(S),
    /// Stream under TLS.
    Tls(Box<TlsStream<S>>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport<S> {
    /// Performs the TLS handshake as server. Fails if the stream is already under TLS.
    pub async fn secure(self, acceptor: &TlsAcceptor) -> io::Result<(Self, Secured)> {
        let Self::Plain(stream) = self else {
            return Err(io::Error::other("TLS is already on"));
        };
        let stream = Box::new(acceptor.accept(stream).await?);
        let connection = stream.get_ref().1;
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.and_then(|leaf| ClientCertificate::parse(leaf));
        let (subject, certificate_names) = certificate.map(|shown| (shown.subject, shown.names)).unzip();
        let secured = Secured {
            session: TlsSession {
                subject,
                ..describe(connection)
            },
            channel_binding: exported(connection),
            certificate_names,
        };
        Ok((Self::Tls(stream), secured))
    }
}

/// Exports the channel binding `tls-exporter` (RFC 9266 section 4.2).
fn exported(connection: &ServerConnection) -> Option<ChannelBinding> {
    let is_bound = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    let export = || connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""));
    is_bound.then(export).and_then(Result::ok)
}

fn describe(connection: &ServerConnection) -> TlsSession {
    let version = connection.protocol_version().and_then(|version| version.as_str());
    let suite = connection.negotiated_cipher_suite();
    let cipher = suite.and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
    TlsSession {
        version: version.unwrap_or("unknown").replace('_', "."),
        // rustls marks the suites of TLS 1.3; IANA's names do not.
        cipher: cipher.replacen("TLS13_", "TLS_", 1),
        subject: None,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Transport<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Transport<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
