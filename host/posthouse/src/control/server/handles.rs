//! The parts of the running host that the routes read and change.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use crate::control::api::{ListenerStatus, Order};
use host_config::Config;
use host_events::{EventLog, Events};
use host_mail::Timestamp;
use host_policy::DecisionLog;
use host_policy::PolicyManager;
use host_smtp::listener::ConnectionLimiter;
use host_spool::Spool;

/// Shared state of all routes.
#[derive(Clone)]
pub struct Handles {
    /// Active configuration; a reload replaces it.
    pub config: Arc<ArcSwap<Config>>,
    /// Bound listeners.
    pub listeners: Vec<ListenerStatus>,
    /// Limiter of connections, for their number and for overload.
    pub connections: ConnectionLimiter,
    /// Policy manager.
    pub policies: Arc<PolicyManager>,
    /// Spool, for the queue's routes.
    pub spool: Spool,
    /// Log of recorded decisions.
    pub decisions: DecisionLog,
    /// Emitter of events.
    pub events: Events,
    /// Stored events.
    pub log: EventLog,
    /// Commands to the daemon's main loop.
    pub orders: mpsc::Sender<Order>,
    /// Time at which the host was ready.
    pub started: Timestamp,
    /// Turns true when the host stops, and ends streamed answers.
    pub stop: watch::Receiver<bool>,
}
