//! LIFO cache of idle connections, for the next message to the same remote.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use host_config::{HopSettings, ServerLogin, TlsLevel};

use super::destination::Remote;
use crate::client_connection::Connection;

/// Maximum idle time. Short, because an idle connection costs the remote a connection, too.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum messages over a connection; some hosts distrust endless connections.
const MAX_TRANSACTIONS: u32 = 100;
/// Maximum number of idle connections to all remotes.
const MAX_IDLE: usize = 200;

/// Properties that must be equal for a connection to serve another message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub(super) remote: Remote,
    /// TLS level of the connection. A connection of a looser level must not serve a delivery of a stricter one.
    pub(super) tls_level: TlsLevel,
    /// Settings of the remote, which the connection was opened with.
    pub(super) settings: Option<Arc<HopSettings>>,
    /// Login of the connection: a connection with another login, or without a login, must not serve.
    pub(super) login: Option<ServerLogin>,
}

/// Pool of idle connections.
#[derive(Default)]
pub(super) struct ConnectionPool {
    idle: Mutex<IdleConnections>,
}

#[derive(Default)]
struct IdleConnections {
    connections: HashMap<PoolKey, Vec<(Instant, Connection)>>,
    count: usize,
    closed: bool,
}

impl ConnectionPool {
    /// Takes the newest idle connection that seems to be alive. The remote may still close the connection at any
    /// moment.
    pub(super) fn take(&self, key: &PoolKey) -> Option<Connection> {
        loop {
            let (since, mut connection) = self.pop(key)?;
            if since.elapsed() < IDLE_TIMEOUT && connection.is_alive() {
                return Some(connection);
            }
        }
    }

    fn pop(&self, key: &PoolKey) -> Option<(Instant, Connection)> {
        let mut idle = self.idle.lock();
        let waiting = idle.connections.get_mut(key)?;
        let newest = waiting.pop();
        if waiting.is_empty() {
            idle.connections.remove(key);
        }
        idle.count -= usize::from(newest.is_some());
        newest
    }

    /// Keeps a connection for the next message. Returns the connection, for the caller to close, if the connection is
    /// not reusable, or if the pool is full or closed.
    pub(super) fn put(&self, key: PoolKey, connection: Connection) -> Option<Connection> {
        let mut idle = self.idle.lock();
        let exhausted = !connection.reusable || connection.transactions >= MAX_TRANSACTIONS;
        if exhausted || idle.closed || idle.count >= MAX_IDLE {
            return Some(connection);
        }
        idle.count += 1;
        idle.connections
            .entry(key)
            .or_default()
            .push((Instant::now(), connection));
        None
    }

    /// Removes and returns the connections that were idle for too long, for the caller to close.
    pub(super) fn expired(&self) -> Vec<Connection> {
        let mut idle = self.idle.lock();
        let mut old = Vec::new();
        for waiting in idle.connections.values_mut() {
            old.extend(
                waiting
                    .extract_if(.., |(since, _)| since.elapsed() >= IDLE_TIMEOUT)
                    .map(|(_, c)| c),
            );
        }
        idle.connections.retain(|_, waiting| !waiting.is_empty());
        idle.count -= old.len();
        old
    }

    /// Closes the pool: removes and returns all connections, for the caller to close. Later connections are not kept.
    pub(super) fn close(&self) -> Vec<Connection> {
        let mut idle = self.idle.lock();
        idle.closed = true;
        idle.count = 0;
        let all = std::mem::take(&mut idle.connections);
        all.into_values().flatten().map(|(_, connection)| connection).collect()
    }
}
