//! One SMTP connection: a pure machine and the driver that feeds it.
//!
//! `machine` knows the protocol and does no I/O; `driver` reads, steps it, performs what it says
//! and writes. `docs/smtp.md` says what a client meets.

mod accept_message;
mod auth;
mod command;
mod connection_slot;
mod data_reader;
mod driver;
mod edits;
mod machine;
mod path;
mod receive;
mod refusal_events;
pub mod replies;
mod session_permit;
#[cfg(test)]
pub(crate) mod tests;
mod transport;
mod wire;

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use rustix::net::SendFlags;
use tokio::net::TcpStream;
use tokio::sync::watch;

use host_config::{Config, Listener, ListenerTls};
use host_contract::{Decide, Reason};
use host_directory::Directory;
use host_events::Events;
use host_mail::{Client, Reply, ReversePath, SessionId};
use host_spool::Spool;

pub use crate::session::connection_slot::ConnectionSlot;
use crate::session::refusal_events::RefusalEvent;
pub use crate::session::session_permit::SessionPermits;
use crate::session::session_permit::{PermitDenied, SessionPermit};
use crate::session::transport::Transport;
use driver::Driver;
use machine::{Rules, Session};
use wire::{COMMAND_ROOM, Wire};

/// What every session needs.
#[derive(Clone)]
pub struct SessionContext {
    /// In force when the connection was accepted.
    pub config: Arc<Config>,
    /// For STARTTLS and implicit TLS.
    pub tls: Option<tokio_rustls::TlsAcceptor>,
    /// Answers the questions of admission and of each transaction.
    pub policies: Arc<dyn Decide>,
    /// Credentials.
    pub directory: Arc<dyn Directory>,
    /// Where accepted mail goes.
    pub spool: Spool,
    /// Told.
    pub events: Events,
    /// Who is served.
    pub session_permits: SessionPermits,
}

/// Serves one connection to its end, when it is its turn. `stop` turning true ends it at the next safe point with 421,
/// and so does `place` where it stands.
pub async fn serve(
    context: SessionContext,
    listener: Arc<Listener>,
    stream: TcpStream,
    peer: SocketAddr,
    place: Arc<ConnectionSlot>,
    mut stop: watch::Receiver<bool>,
) {
    let client = Client::new(&listener.name, peer);
    let taken = tokio::select! {
        biased;
        taken = context.session_permits.take(&mut stop) => taken,
        () = gone(&stream) => return,
    };
    match taken {
        // Kilobytes, which nobody has who only waits, and which the runtime would move several times.
        Ok(permit) => Box::pin(with_permit(context, listener, stream, client, place, stop, permit)).await,
        Err(PermitDenied::TooBusy) => {
            let reply = replies::too_busy(&context.config.hostname);
            refuse(&stream, &listener, &reply);
            let refused = RefusalEvent {
                session: SessionId::generate(),
                client: &client,
                stage: "admit",
                subject: client.address.to_string(),
                reply: &reply,
                because: &Reason::host("overload"),
            };
            refused.emit(&context.events, &ReversePath::Null);
        }
        Err(PermitDenied::Stopping) => refuse(&stream, &listener, &replies::stopping(&context.config.hostname)),
    }
}

/// Returns when the peer has closed, if it has sent nothing before.
async fn gone(stream: &TcpStream) {
    if let Ok(1) = stream.peek(&mut [0]).await {
        std::future::pending().await
    }
}

async fn with_permit(
    context: SessionContext,
    listener: Arc<Listener>,
    stream: TcpStream,
    mut client: Client,
    place: Arc<ConnectionSlot>,
    stop: watch::Receiver<bool>,
    permit: SessionPermit,
) {
    let mut driver = Driver::new(context.clone(), &client, place, stop, permit);
    let mut wire = Wire::new(Transport::Plain(stream));
    if listener.tls == ListenerTls::Implicit {
        let Some((secured, session)) = driver.secure(wire).await else {
            return;
        };
        wire = secured;
        client.tls = Some(session);
    }
    let terms = match driver.admit(&client).await {
        Ok(terms) => terms,
        Err(refusal) => return driver.end(wire, Some(refusal), None).await,
    };
    if spoke_first(&mut wire) {
        let reason = Some("the client spoke before the greeting");
        return driver.end(wire, Some(replies::spoke_first()), reason).await;
    }
    let rules = Rules::new(&context.config, &listener, &terms, context.tls.is_some());
    client.exemptions = terms.exemptions;
    drop(context);
    driver.converse(wire, Session::new(rules, client)).await;
}

/// Returns when this host stops; a sender that is gone stops, too.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The reply to a connection of a client that has as many as it may.
pub(crate) fn too_many(hostname: &str) -> Reply {
    replies::too_many_connections(hostname)
}

/// The reply to a connection that there is no room for.
pub(crate) fn no_room(hostname: &str) -> Reply {
    replies::too_busy(hostname)
}

/// Says 421 to a connection that was not greeted, and closes. Where TLS comes first nothing can be said. This is done most
/// often when there is least time for it: nothing is waited for, since what is new has room for one line.
pub(crate) fn refuse(stream: &TcpStream, listener: &Listener, reply: &Reply) {
    if listener.tls == ListenerTls::Implicit {
        return;
    }
    let mut text = Vec::new();
    reply.write_to(&mut text);
    // The client is told if it can be; it is gone either way. What is to be continued leaves with the end of the
    // connection, which follows at once: one packet, and the client is woken once.
    let _ = rustix::net::send(stream, &text, SendFlags::MORE | SendFlags::NOSIGNAL);
}

/// RFC 5321 section 4.3.1. Asks the kernel and does not wait: tokio may not have heard of what came
/// with a connection that it was only just told about.
fn spoke_first(wire: &mut Wire<TcpStream>) -> bool {
    match wire.transport() {
        Transport::Plain(stream) => {
            let mut octet = [MaybeUninit::uninit()];
            matches!(socket2::SockRef::from(stream).peek(&mut octet), Ok(1))
        }
        Transport::Tls(_) => matches!(wire.fill(COMMAND_ROOM).now_or_never(), Some(Ok(1..))),
    }
}
