//! An SMTP connection: a pure machine and the driver that feeds it.
//!
//! `machine` knows the protocol and does no I/O. `driver` reads, steps the machine, performs the step's action and
//! writes. `docs/reference/smtp.md` describes the dialogue as a client sees it.

mod accept_message;
mod active_transaction;
pub(crate) mod auth;
mod chunk_reader;
mod chunked_message;
mod client_certificate;
pub(crate) mod command;
mod completion;
mod connection_slot;
mod context;
pub(crate) mod data_reader;
mod driver;
mod edits;
mod front_end;
mod login_fault;
mod login_limiter;
mod machine;
mod parameters;
mod path;
#[cfg(test)]
mod property_tests;
mod receive;
mod refusal_events;
pub mod replies;
pub(crate) mod scram_exchange;
mod session_permit;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod transport;
pub(crate) mod wire;

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rustix::net::{SendFlags, Shutdown};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use host_config::{Listener, ListenerTls};
use host_contract::Reason;
use host_mail::{Client, Reply, ReversePath, SessionId, client_network};

pub use crate::session::connection_slot::ConnectionSlot;
pub use crate::session::context::SessionContext;
pub use crate::session::login_limiter::LoginLimiter;
use crate::session::refusal_events::{RefusalEvents, RefusalFacts};
pub use crate::session::session_permit::SessionPermits;
use crate::session::session_permit::{PermitDenied, SessionPermit};
use crate::session::transport::Transport;
use driver::Driver;
use machine::{ConnectionOffer, Rules, Session};
use wire::{COMMAND_ROOM, LINGER, Wire};

/// Refused connections whose input is being discarded: at most as many as have descriptors set aside.
static LINGERING: Semaphore = Semaphore::const_new(256);
/// Time for which a refused connection's input is discarded.
const REFUSED_LINGER: Duration = Duration::from_secs(1);

/// Serves a connection to its end, once a session permit is free. When `stop` turns true or `slot` is evicted, the
/// connection ends at the next safe point with 421. A client that gets no permit in time is refused with 421.
pub async fn serve(
    context: SessionContext,
    listener: Arc<Listener>,
    stream: TcpStream,
    peer: SocketAddr,
    slot: Arc<ConnectionSlot>,
    mut stop: watch::Receiver<bool>,
) {
    let client = Client::new(&listener.name, peer);
    let permit = tokio::select! {
        biased;
        permit = context.session_permits.acquire(&mut stop) => permit,
        () = closed_by_peer(&stream) => return,
    };
    match permit {
        // Boxed: a waiting connection does not pay for the session's kilobytes, and the runtime does not move them.
        Ok(permit) => Box::pin(run_session(context, listener, stream, client, slot, stop, permit)).await,
        Err(PermitDenied::TooBusy) => {
            let reply = replies::too_busy(&context.config.hostname);
            refuse(stream, &listener, &reply);
            let refused = RefusalFacts {
                client: &client,
                stage: "admit",
                subject: client.address.to_string(),
                reply: &reply,
                because: &Reason::host("overload"),
            };
            RefusalEvents::new(SessionId::generate(), context.events).emit(refused, &ReversePath::Null);
        }
        Err(PermitDenied::Stopping) => refuse(stream, &listener, &replies::stopping(&context.config.hostname)),
    }
}

/// Returns when the peer has closed the connection without having sent an octet.
async fn closed_by_peer(stream: &TcpStream) {
    if let Ok(1) = stream.peek(&mut [0]).await {
        std::future::pending().await
    }
}

async fn run_session(
    context: SessionContext,
    listener: Arc<Listener>,
    stream: TcpStream,
    mut client: Client,
    slot: Arc<ConnectionSlot>,
    stop: watch::Receiver<bool>,
    permit: SessionPermit,
) {
    let is_front_end = listener.xclient.iter().any(|front| front.contains(&client.address));
    let mut driver = Driver::new(context.clone(), &listener, &client, slot, stop, permit);
    let mut wire = Wire::new(Transport::Plain(stream));
    let (mut channel_binding, mut certificate_names) = (None, None);
    if listener.tls == ListenerTls::Implicit {
        let Some((secured, tls)) = driver.secure(wire).await else {
            return;
        };
        wire = secured;
        client.tls = Some(tls.session);
        (channel_binding, certificate_names) = (tls.channel_binding, tls.certificate_names);
    }
    let terms = match driver.admit(&client).await {
        Ok(terms) => terms,
        Err(refusal) => return driver.end(wire, Some(refusal), None).await,
    };
    if spoke_first(&mut wire) {
        // A probe that sends at once sees the greeting nevertheless.
        wire.queue_reply(&replies::banner(&context.config.hostname));
        let reason = Some("the client spoke before the greeting");
        return driver.end(wire, Some(replies::spoke_first()), reason).await;
    }
    let offer = ConnectionOffer {
        tls: context.tls.is_some(),
        scram: context.directory.has_scram_for_all(),
    };
    let rules = Rules {
        is_front_end,
        ..Rules::new(&context.config, &listener, &terms, offer)
    };
    if rules.auth && rules.authentication && context.logins.refuses(client_network(client.address)) {
        let reply = replies::logins_refused(&context.config.hostname);
        return driver.end(wire, Some(reply), Some("too many failed logins")).await;
    }
    client.exemptions = terms.exemptions;
    drop(context);
    let mut session = Session::new(rules, client);
    session.channel_binding = channel_binding;
    session.certificate_names = certificate_names;
    driver.converse(wire, session).await;
}

/// Sends `reply` to a connection that was not greeted. Never waits: the socket buffer of a new connection holds one
/// line. Sends nothing under implicit TLS, where a plaintext reply cannot be read. Closes the connection; a task of its
/// own discards what the client sends, so that the reply is not lost.
pub(crate) fn refuse(stream: TcpStream, listener: &Listener, reply: &Reply) {
    if listener.tls == ListenerTls::Implicit {
        return;
    }
    let mut text = Vec::new();
    reply.write_to(&mut text);
    // MORE delays the reply until the close, which follows at once: one packet, and the client is woken once. An error
    // is ignored, since the connection ends in any case.
    let _ = rustix::net::send(&stream, &text, SendFlags::MORE | SendFlags::NOSIGNAL);
    let _ = rustix::net::shutdown(&stream, Shutdown::Write);
    if let Ok(lingering) = LINGERING.try_acquire() {
        tokio::spawn(async move {
            let _ = timeout(REFUSED_LINGER, discard(stream)).await;
            drop(lingering);
        });
    }
}

/// Reads and discards input up to the peer's close. Closing on unread octets would reset the connection, and the peer's
/// TCP might discard the last reply.
async fn discard(mut stream: TcpStream) {
    let _ = tokio::io::copy(&mut (&mut stream).take(LINGER as u64), &mut tokio::io::sink()).await;
}

/// True if the client sent something before the greeting (RFC 5321 section 4.3.1). Does not wait. Asks the kernel,
/// since tokio may not yet have seen octets that arrived together with a new connection.
fn spoke_first(wire: &mut Wire<TcpStream>) -> bool {
    match wire.transport() {
        Transport::Plain(stream) => {
            let mut octet = [MaybeUninit::uninit()];
            matches!(socket2::SockRef::from(stream).peek(&mut octet), Ok(1))
        }
        Transport::Tls(_) => matches!(wire.fill(COMMAND_ROOM).now_or_never(), Some(Ok(1..))),
    }
}
