//! What a session takes of memory while it waits.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use super::host::Host;
use crate::session::session_permit::SessionPermit;
use crate::session::{serve, with_permit};
use host_mail::Client;

/// A future has room for all that its parts may wait for, and one that hands its work on has it twice. An idle session takes
/// this and its buffers; who only waits for a turn is not one yet.
#[tokio::test]
async fn a_session_is_small_and_who_waits_for_a_turn_is_smaller() {
    let host = Host::new(|_| {}).await;
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let peer = socket.local_addr().expect("bound");
    let listener = Arc::new(host.listener.clone());
    let stream = async || {
        let _client = TcpStream::connect(peer).await.expect("loopback");
        socket.accept().await.expect("a client").0
    };
    let client = Client::new(&listener.name, peer);
    let context = || (host.context.clone(), Arc::clone(&listener));
    let stop = || host.stop.subscribe();
    let ((one, at), place) = (context(), Arc::default);
    let waits = serve(one, at, stream().await, peer, place(), stop());
    let (one, at) = context();
    let session = with_permit(
        one,
        at,
        stream().await,
        client,
        place(),
        stop(),
        SessionPermit::default(),
    );
    let sizes = (size_of_val(&waits), size_of_val(&session));
    assert!(sizes.0 <= 2048 && sizes.1 <= 6 * 1024, "{sizes:?}");
}
