//! Listeners: bind, permit before accept, 421 when full.

mod connection_limiter;
mod proxy_header;
mod reject_rate;
mod scheduler_latency;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use crate::session::{self, SessionContext};
use host_config::Listener;
use host_events::Event;
use host_mail::SessionId;

use crate::listener::reject_rate::RejectRate;

pub use crate::listener::connection_limiter::{Admitted, ConnectionLimiter, NoSlot};

/// Connections the kernel keeps for us.
const BACKLOG: u32 = 1024;
/// How long accepting rests after the system had no room for a connection.
const BACK_OFF: Duration = Duration::from_millis(250);
/// Maximum time that a proxy takes to send its header, which it does at once.
const HEADER: Duration = Duration::from_secs(5);
/// Maximum number of connections of a listener whose PROXY header has not been read yet. As many are accepted in a row
/// as the runtime lets one task do without a pause.
pub const BEHIND_PROXIES: usize = 256;

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
/// counted in `connections`. `context` is asked for each connection, so that a reload reaches new
/// ones.
pub async fn run(
    bound: Bound,
    connections: ConnectionLimiter,
    context: Arc<dyn Fn() -> SessionContext + Send + Sync>,
    mut stop: watch::Receiver<bool>,
) {
    let door = Arc::new(Acceptor {
        connections,
        stop: stop.clone(),
        refusals: Mutex::new(RejectRate::new(Instant::now())),
        behind_proxies: Semaphore::new(BEHIND_PROXIES),
    });
    let mut failing = false;
    loop {
        let rest = door.refusals().rest(Instant::now());
        if let Some(end) = rest {
            tokio::select! {
                () = door.connections.room() => {}
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
        let address = peer.ip().to_canonical();
        if listener.proxies.iter().any(|proxy| proxy.contains(&address)) {
            tokio::spawn(Arc::clone(&door).let_in_for_proxy(context, listener, stream, peer));
        } else {
            door.let_in(context, listener, stream, peer);
        }
    }
}

/// Who comes in.
struct Acceptor {
    connections: ConnectionLimiter,
    stop: watch::Receiver<bool>,
    refusals: Mutex<RejectRate>,
    /// Connections of which it is not known yet whose they are.
    behind_proxies: Semaphore,
}

impl Acceptor {
    /// Nothing that holds the lock can panic.
    fn refusals(&self) -> MutexGuard<'_, RejectRate> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the connection served, or refuses it at once.
    fn let_in(&self, context: SessionContext, listener: Arc<Listener>, stream: TcpStream, client: SocketAddr) {
        match self.connections.admit(client.ip().to_canonical()) {
            Ok(admitted) => {
                let stop = self.stop.clone();
                let session = async move {
                    let place = Arc::clone(&admitted.place);
                    session::serve(context, listener, stream, client, place, stop).await;
                    drop(admitted);
                };
                tokio::spawn(session);
            }
            Err(refused) => {
                let hostname = &context.config.hostname;
                let reply = match refused {
                    // Of one client; the others are not kept waiting for it.
                    NoSlot::TooMany => session::too_many(hostname),
                    NoSlot::Full | NoSlot::Behind => {
                        self.refusals().count(Instant::now());
                        session::no_room(hostname)
                    }
                };
                session::refuse(&stream, &listener, &reply);
            }
        }
    }

    /// The same, once it is known whose connection it is.
    async fn let_in_for_proxy(
        self: Arc<Self>,
        context: SessionContext,
        listener: Arc<Listener>,
        mut stream: TcpStream,
        proxy: SocketAddr,
    ) {
        let Ok(_one) = self.behind_proxies.try_acquire() else {
            // What it has sent is not read, so that nothing can be said.
            return self.refusals().count(Instant::now());
        };
        let mut stop = self.stop.clone();
        let told = tokio::select! {
            told = timeout(HEADER, crate::listener::proxy_header::client(&mut stream)) => told,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let why = match told {
            Ok(Ok(client)) => return self.let_in(context, listener, stream, client.unwrap_or(proxy)),
            Ok(Err(why)) => why.to_string(),
            Err(_) => "timed out".to_owned(),
        };
        context.events.emit(Event::SessionAborted {
            session: SessionId::generate().to_string(),
            client: proxy.ip().to_canonical().to_string(),
            reason: format!("no PROXY header: {why}"),
        });
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
