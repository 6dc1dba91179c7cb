//! Listeners: bind, accept, and refuse with 421 when all slots are taken.

mod connection_limiter;
pub(crate) mod proxy_header;
mod reject_rate;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use crate::session::{self, SessionContext, replies};
use crate::shutdown::stopped;
use host_config::Listener;
use host_events::Event;
use host_mail::{SessionId, client_network};

use crate::listener::proxy_header::read_client;
use crate::listener::reject_rate::RejectRate;

pub use crate::listener::connection_limiter::{Admitted, ConnectionLimiter, NoSlot};

/// Length of the kernel's queue of connections that wait for an accept.
const BACKLOG: u32 = 1024;
/// Pause after a failed accept, such as for lack of file descriptors.
const BACK_OFF: Duration = Duration::from_millis(250);
/// Maximum time for a proxy to send the PROXY header; proxies send the header at once.
const PROXY_HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of connections of a listener whose PROXY header has not been read yet. Larger than the burst that the
/// runtime lets the accept loop take without a pause, since few headers are read during a burst.
pub const BEHIND_PROXIES: usize = 256;

/// A bound socket that does not accept yet.
pub struct Bound {
    socket: TcpListener,
    address: SocketAddr,
    listener: Arc<Listener>,
}

impl Bound {
    /// Binds the listener. The error names the address; the caller emits event 4007.
    pub async fn bind(listener: &Listener) -> io::Result<Self> {
        let open = || {
            let socket = match listener.address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // A restart does not wait for old connections in TIME_WAIT.
            socket.set_reuseaddr(true)?;
            // Each small packet is awaited by the peer: Nagle's algorithm would only add a delay. Accepted connections
            // inherit the option (tcp(7)).
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

    /// Bound address, with the chosen port if the configuration has port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Accepts connections until `stop` turns true. Sessions continue in separate tasks and are counted in `connections`.
/// `context` is called for each connection, so that new connections use a reloaded configuration.
pub async fn run(
    bound: Bound,
    connections: ConnectionLimiter,
    context: Arc<dyn Fn() -> SessionContext + Send + Sync>,
    mut stop: watch::Receiver<bool>,
) {
    let acceptor = Arc::new(Acceptor {
        connections,
        stop: stop.clone(),
        reject_rate: Mutex::new(RejectRate::new(Instant::now())),
        behind_proxies: Semaphore::new(BEHIND_PROXIES),
    });
    let mut failing = false;
    loop {
        let paused_until = acceptor.reject_rate.lock().paused_until(Instant::now());
        if let Some(end) = paused_until {
            tokio::select! {
                () = acceptor.connections.wait_for_room() => {}
                () = tokio::time::sleep_until(end) => {}
                () = stopped(&mut stop) => return,
            }
        }
        let accepted = tokio::select! {
            accepted = bound.socket.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        let (stream, peer) = match accepted {
            Ok(connection) => {
                if std::mem::take(&mut failing) {
                    let listener = bound.listener.name.clone();
                    context().events.emit(Event::AcceptResumed { listener });
                }
                connection
            }
            Err(error) if is_connection_error(&error) => continue,
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
        let listener = current_listener(&bound.listener, &context);
        let address = peer.ip().to_canonical();
        if listener.proxies.iter().any(|proxy| proxy.contains(&address)) {
            tokio::spawn(Arc::clone(&acceptor).accept_proxied(context, listener, stream, peer));
        } else {
            acceptor.admit(context, listener, stream, peer);
        }
    }
}

/// Admits or refuses the connections of a listener.
struct Acceptor {
    connections: ConnectionLimiter,
    stop: watch::Receiver<bool>,
    reject_rate: Mutex<RejectRate>,
    /// Permits of connections whose PROXY header has not been read yet.
    behind_proxies: Semaphore,
}

impl Acceptor {
    /// Serves the connection in a new task, or refuses the connection at once.
    fn admit(&self, context: SessionContext, listener: Arc<Listener>, stream: TcpStream, client: SocketAddr) {
        match self.connections.admit(client_network(client.ip())) {
            Ok(admitted) => {
                let stop = self.stop.clone();
                let session = async move {
                    let slot = Arc::clone(&admitted.slot);
                    session::serve(context, listener, stream, client, slot, stop).await;
                    drop(admitted);
                };
                tokio::spawn(session);
            }
            Err(refused) => {
                let hostname = &context.config.hostname;
                let reply = match refused {
                    // Concerns a single client: other clients are not delayed by the reject rate.
                    NoSlot::TooMany => replies::too_many_connections(hostname),
                    NoSlot::Full => {
                        self.reject_rate.lock().count(Instant::now());
                        replies::too_busy(hostname)
                    }
                };
                session::refuse(stream, &listener, &reply);
            }
        }
    }

    /// Reads the PROXY header, then admits or refuses the connection of the client.
    async fn accept_proxied(
        self: Arc<Self>,
        context: SessionContext,
        listener: Arc<Listener>,
        mut stream: TcpStream,
        proxy: SocketAddr,
    ) {
        let Ok(_permit) = self.behind_proxies.try_acquire() else {
            // Closed without a reply, since the header is unread.
            return self.reject_rate.lock().count(Instant::now());
        };
        let mut stop = self.stop.clone();
        let header = tokio::select! {
            header = timeout(PROXY_HEADER_TIMEOUT, read_client(&mut stream)) => header,
            () = stopped(&mut stop) => return,
        };
        let error = match header {
            Ok(Ok(client)) => return self.admit(context, listener, stream, client.unwrap_or(proxy)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "timed out".to_owned(),
        };
        context.events.emit(Event::SessionAborted {
            session: SessionId::generate().to_string(),
            client: proxy.ip().to_canonical().to_string(),
            reason: format!("no PROXY header: {error}"),
        });
    }
}

/// True if the error concerns a single connection that the peer aborted before the accept (accept(2), "Error
/// handling").
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied, TimedOut};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied | TimedOut
    )
}

/// Returns the listener of the configuration in force, or the listener as bound if the configuration no longer names
/// the listener.
fn current_listener(bound: &Arc<Listener>, context: &SessionContext) -> Arc<Listener> {
    let listeners = &context.config.listeners;
    match listeners.iter().find(|listener| listener.name == bound.name) {
        Some(listener) if *listener != **bound => Arc::new(listener.clone()),
        _ => Arc::clone(bound),
    }
}

#[cfg(test)]
mod tests;
