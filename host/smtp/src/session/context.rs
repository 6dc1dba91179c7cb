//! Services that sessions share.

use std::sync::Arc;

use host_config::Config;
use host_contract::Decide;
use host_directory::Directory;
use host_events::Events;
use host_spool::Spool;

use crate::session::login_limiter::LoginLimiter;
use crate::session::session_permit::SessionPermits;

/// Configuration and services of a session. A clone is cheap.
#[derive(Clone)]
pub struct SessionContext {
    /// Configuration in force when the connection was accepted.
    pub config: Arc<Config>,
    /// TLS acceptor for STARTTLS and implicit TLS; `None` if TLS is not configured.
    pub tls: Option<tokio_rustls::TlsAcceptor>,
    /// Answers the questions of admission and of each transaction.
    pub policies: Arc<dyn Decide>,
    /// Checks the credentials of AUTH.
    pub directory: Arc<dyn Directory>,
    /// Failed and successful logins of all sessions.
    pub logins: Arc<LoginLimiter>,
    /// Stores accepted messages.
    pub spool: Spool,
    /// Event log for the operator.
    pub events: Events,
    /// Concurrency limit of all sessions.
    pub session_permits: SessionPermits,
}
