//! Connections that wait a moment for the next message to the same remote.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use host_config::ServerLogin;

use super::destination::Remote;
use crate::connect::Connection;

/// How long a connection waits. Short: the remote pays for it, too.
const IDLE: Duration = Duration::from_secs(3);
/// Messages over one connection; hosts grow suspicious of endless ones.
const MAX_TRANSACTIONS: u32 = 100;
/// Connections that wait, in all.
const MAX_IDLE: usize = 200;

/// What must be equal for a connection to serve another message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub(super) remote: Remote,
    /// A connection made without verification must not serve once it is demanded.
    pub(super) verify_tls: bool,
    /// Nor one that somebody else logged in for, or nobody.
    pub(super) login: Option<ServerLogin>,
}

/// Connections between two messages.
#[derive(Default)]
pub(super) struct ConnectionPool {
    idle: Mutex<IdleConnection>,
}

#[derive(Default)]
struct IdleConnection {
    connections: HashMap<PoolKey, Vec<(Instant, Connection)>>,
    count: usize,
    closed: bool,
}

impl ConnectionPool {
    /// A connection that seems to be alive. The remote may still close it at any moment.
    pub(super) fn take(&self, key: &PoolKey) -> Option<Connection> {
        loop {
            let (since, mut connection) = self.pop(key)?;
            if since.elapsed() < IDLE && connection.is_alive() {
                return Some(connection);
            }
        }
    }

    fn pop(&self, key: &PoolKey) -> Option<(Instant, Connection)> {
        let mut idle = self.lock();
        let waiting = idle.connections.get_mut(key)?;
        let newest = waiting.pop();
        if waiting.is_empty() {
            idle.connections.remove(key);
        }
        idle.count -= usize::from(newest.is_some());
        newest
    }

    /// Keeps a connection for the next message, or gives it back to be closed.
    pub(super) fn put(&self, key: PoolKey, connection: Connection) -> Option<Connection> {
        let mut idle = self.lock();
        let worn = !connection.reusable || connection.transactions >= MAX_TRANSACTIONS;
        if worn || idle.closed || idle.count >= MAX_IDLE {
            return Some(connection);
        }
        idle.count += 1;
        idle.connections
            .entry(key)
            .or_default()
            .push((Instant::now(), connection));
        None
    }

    /// Those that have waited long enough, to be closed.
    pub(super) fn expired(&self) -> Vec<Connection> {
        let mut idle = self.lock();
        let mut old = Vec::new();
        for waiting in idle.connections.values_mut() {
            old.extend(
                waiting
                    .extract_if(.., |(since, _)| since.elapsed() >= IDLE)
                    .map(|(_, c)| c),
            );
        }
        idle.connections.retain(|_, waiting| !waiting.is_empty());
        idle.count -= old.len();
        old
    }

    /// All of them, to be closed; from now on none is kept.
    pub(super) fn close(&self) -> Vec<Connection> {
        let mut idle = self.lock();
        idle.closed = true;
        idle.count = 0;
        let all = std::mem::take(&mut idle.connections);
        all.into_values().flatten().map(|(_, connection)| connection).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, IdleConnection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
