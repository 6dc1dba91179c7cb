//! Memory of a waiting session.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use super::host::Host;
use crate::session::session_permit::SessionPermit;
use crate::session::{run_session, serve};
use host_mail::Client;

/// A future has room for everything that its parts wait for, twice where a part is passed on by value. An idle session
/// takes its future and its buffers; a connection that waits for a permit is smaller.
#[tokio::test]
async fn session_future_is_small_and_smaller_before_the_permit() {
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
    let ((services, at), slot) = (context(), Arc::default);
    let waiting = serve(services, at, stream().await, peer, slot(), stop());
    let (services, at) = context();
    let session = run_session(
        services,
        at,
        stream().await,
        client,
        slot(),
        stop(),
        SessionPermit::default(),
    );
    let sizes = (size_of_val(&waiting), size_of_val(&session));
    assert!(sizes.0 <= 2048 && sizes.1 <= 6 * 1024, "{sizes:?}");
}
