//! One SMTP connection: a pure machine and the driver that feeds it.
//!
//! `machine` knows the protocol and does no I/O; `driver` reads, steps it, performs what it says
//! and writes. `docs/smtp.md` says what a client meets.

mod auth;
mod command;
mod data;
mod driver;
mod edits;
mod machine;
mod notices;
mod path;
mod place;
mod receive;
pub(crate) mod replies;
mod settle;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
mod turn;
mod wire;

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::net::TcpStream;

use crate::config::{Config, Listener, ListenerTls};
use crate::directory::Directory;
use crate::event::Events;
use crate::mail::{Client, Reply};
use crate::policy::Policies;
use crate::spool::Spool;

use driver::Driver;
use machine::{Rules, Session};
pub use place::Place;
use tls::Transport;
pub use turn::Turns;
use wire::{COMMAND_ROOM, Wire};

/// What every session needs.
#[derive(Clone)]
pub struct SessionContext {
    /// In force when the connection was accepted.
    pub config: Arc<Config>,
    /// For STARTTLS and implicit TLS.
    pub tls: Option<tokio_rustls::TlsAcceptor>,
    /// Asked.
    pub policies: Policies,
    /// Credentials.
    pub directory: Arc<dyn Directory>,
    /// Where accepted mail goes.
    pub spool: Spool,
    /// Told.
    pub events: Events,
    /// Transactions under way.
    pub turns: Turns,
}

/// Serves one connection to its end. `stop` turning true ends it at the next safe point with 421,
/// and so does `place` where it stands.
pub async fn serve(
    context: SessionContext,
    listener: Arc<Listener>,
    stream: TcpStream,
    peer: SocketAddr,
    place: Arc<Place>,
    stop: tokio::sync::watch::Receiver<bool>,
) {
    let mut client = Client {
        listener: listener.name.clone(),
        address: peer.ip().to_canonical(),
        port: peer.port(),
        name: None,
        helo: None,
        tls: None,
        identity: None,
        exemptions: Arc::default(),
    };
    let driver = Driver::new(context.clone(), &client, place, stop);
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

/// The reply to a connection of a client that has as many as it may.
pub(crate) fn too_many(hostname: &str) -> Reply {
    replies::too_many_connections(hostname)
}

/// The reply to a connection that there is no room for.
pub(crate) fn no_room(hostname: &str) -> Reply {
    replies::too_busy(hostname)
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
