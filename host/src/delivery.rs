//! Delivery: route, attempt, classify, retry.

use std::sync::Arc;

use crate::config::Config;
use crate::directory::Directory;
use crate::event::Events;
use crate::ndr::Ndr;
use crate::spool::Spool;

/// What delivery needs.
#[derive(Clone)]
pub struct DeliveryContext {
    /// In force now; a reload is seen by the next message.
    pub config: Arc<arc_swap::ArcSwap<Config>>,
    /// Homes.
    pub directory: Arc<dyn Directory>,
    /// What is due.
    pub spool: Spool,
    /// Failures.
    pub ndr: Ndr,
    /// Told.
    pub events: Events,
}

/// Works on what is due until `stop` turns true; then finishes or gives back what it holds,
/// within `config.drain`, and returns how many it gave back.
pub async fn run(_context: DeliveryContext, _stop: tokio::sync::watch::Receiver<bool>) -> u64 {
    todo!()
}
