//! Listeners: bind, permit before accept, 421 when full.

use std::sync::Arc;

use crate::config::Listener;
use crate::session::SessionContext;

/// A bound socket that does not accept yet.
pub struct Bound {}

impl Bound {
    /// Binds; the error names the address (4007 is the caller's).
    pub async fn bind(_listener: &Listener) -> std::io::Result<Self> {
        todo!()
    }

    /// Where it is bound; the port that was chosen if the configuration said 0.
    pub fn address(&self) -> std::net::SocketAddr {
        todo!()
    }
}

/// Sessions at once, in all and by client address; shared by all listeners.
#[derive(Clone)]
pub struct Admittance {}

impl Admittance {
    /// No sessions yet.
    pub fn new(_sessions: usize, _per_client: usize) -> Self {
        todo!()
    }

    /// Sessions now.
    pub fn active(&self) -> usize {
        todo!()
    }
}

/// Accepts until `stop` turns true, then returns; sessions go on in their own tasks and are
/// counted in `admittance`. `context` is asked for each connection, so that a reload reaches new
/// ones.
pub async fn run(
    _bound: Bound,
    _admittance: Admittance,
    _context: Arc<dyn Fn() -> SessionContext + Send + Sync>,
    _stop: tokio::sync::watch::Receiver<bool>,
) {
    todo!()
}
