//! One SMTP connection: a pure machine and the driver that feeds it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::config::{Config, Listener};
use crate::directory::Directory;
use crate::event::Events;
use crate::policy::Policies;
use crate::spool::Spool;

/// What every session needs.
#[derive(Clone)]
pub struct SessionContext {
    /// In force when the connection was accepted.
    pub config: Arc<Config>,
    /// For STARTTLS and implicit TLS.
    pub tls: Option<tokio_rustls::TlsAcceptor>,
    /// Asked.
    pub policies: Policies,
    /// Credentials.
    pub directory: Arc<dyn Directory>,
    /// Where accepted mail goes.
    pub spool: Spool,
    /// Told.
    pub events: Events,
}

/// Serves one connection to its end. `stop` turning true ends it at the next safe point with 421.
pub async fn serve(
    _context: SessionContext,
    _listener: Arc<Listener>,
    _stream: TcpStream,
    _peer: SocketAddr,
    _stop: tokio::sync::watch::Receiver<bool>,
) {
    todo!()
}
