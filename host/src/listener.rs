//! Listeners: bind, permit before accept, 421 when full.

mod admittance;
mod lag;
mod refusals;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Listener;
use crate::event::Event;
use crate::session::{self, SessionContext};

use refusals::Refusals;

pub use admittance::{Admittance, Admitted, Refused};

/// Connections the kernel keeps for us.
const BACKLOG: u32 = 1024;
/// How long accepting rests after the system had no room for a connection.
const BACK_OFF: Duration = Duration::from_millis(250);

/// A bound socket that does not accept yet.
pub struct Bound {
    socket: TcpListener,
    address: SocketAddr,
    listener: Arc<Listener>,
}

impl Bound {
    /// Binds; the error names the address (4007 is the caller's).
    pub async fn bind(listener: &Listener) -> io::Result<Self> {
        let open = || {
            let socket = match listener.address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // A restart need not wait for the connections of the last run to be forgotten.
            socket.set_reuseaddr(true)?;
            // Small packets, each waited for: Nagle's algorithm would only add its delay. Connections
            // inherit this (tcp(7)).
            socket.set_nodelay(true)?;
            socket.bind(listener.address)?;
            let socket = socket.listen(BACKLOG)?;
            Ok((socket.local_addr()?, socket))
        };
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", listener.address));
        let (address, socket) = open().map_err(named)?;
        Ok(Self {
            socket,
            address,
            listener: Arc::new(listener.clone()),
        })
    }

    /// Where it is bound; the port that was chosen if the configuration said 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Accepts until `stop` turns true, then returns; sessions go on in their own tasks and are
/// counted in `admittance`. `context` is asked for each connection, so that a reload reaches new
/// ones.
pub async fn run(
    bound: Bound,
    admittance: Admittance,
    context: Arc<dyn Fn() -> SessionContext + Send + Sync>,
    mut stop: watch::Receiver<bool>,
) {
    let sessions_stop = stop.clone();
    let mut failing = false;
    let mut refusals = Refusals::new(Instant::now());
    loop {
        if let Some(end) = refusals.rest(Instant::now()) {
            tokio::select! {
                () = admittance.room() => {}
                () = tokio::time::sleep_until(end) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
        let accepted = tokio::select! {
            accepted = bound.socket.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (stream, peer) = match accepted {
            Ok(connection) => {
                failing = false;
                connection
            }
            Err(error) if is_of_the_connection(&error) => continue,
            Err(error) => {
                if !failing {
                    let (listener, error) = (bound.listener.name.clone(), error.to_string());
                    context().events.emit(Event::AcceptFailed { listener, error });
                }
                failing = true;
                tokio::time::sleep(BACK_OFF).await;
                continue;
            }
        };
        let context = context();
        let listener = current(&bound.listener, &context);
        match admittance.admit(peer.ip().to_canonical()) {
            Ok(admitted) => {
                let stop = sessions_stop.clone();
                let session = async move {
                    let place = Arc::clone(&admitted.place);
                    session::serve(context, listener, stream, peer, place, stop).await;
                    drop(admitted);
                };
                tokio::spawn(session);
            }
            Err(refused) => {
                let hostname = &context.config.hostname;
                let reply = match refused {
                    // Of one client; the others are not kept waiting for it.
                    Refused::TooMany => session::too_many(hostname),
                    Refused::Full | Refused::Behind => {
                        refusals.count(Instant::now());
                        session::no_room(hostname)
                    }
                };
                session::refuse(&stream, &listener, &reply);
            }
        }
    }
}

/// The peer broke it off before we took it (accept(2), "Error handling").
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied, TimedOut};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied | TimedOut
    )
}

/// What the configuration in force says about this listener; what it was bound with if that no longer
/// names it.
fn current(bound: &Arc<Listener>, context: &SessionContext) -> Arc<Listener> {
    let listeners = &context.config.listeners;
    match listeners.iter().find(|listener| listener.name == bound.name) {
        Some(listener) if *listener != **bound => Arc::new(listener.clone()),
        _ => Arc::clone(bound),
    }
}

#[cfg(test)]
mod tests;
