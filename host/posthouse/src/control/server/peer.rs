//! The user at the other end of a connection.

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

/// The peer's user id as `uid N`, from the kernel (`SO_PEERCRED`); `unknown` if the kernel does not give the id.
#[derive(Debug, Clone)]
pub(super) struct Peer(pub(super) String);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(match stream.io().peer_cred() {
            Ok(peer) => format!("uid {}", peer.uid()),
            Err(_) => "unknown".to_owned(),
        })
    }
}
