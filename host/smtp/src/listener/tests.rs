//! Listeners over loopback.

use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::session::tests::host::{Client, Host};
use host_config::OverloadConfig;

/// A running listener.
struct Running {
    host: Host,
    address: SocketAddr,
    connections: ConnectionLimiter,
    task: JoinHandle<()>,
}

impl Running {
    async fn new(sessions: usize, per_client: usize) -> Self {
        let host = Host::new(|_| {}).await;
        let bound = Bound::bind(&host.listener).await.expect("loopback");
        let address = bound.address();
        let connections = ConnectionLimiter::new(
            sessions,
            per_client,
            &OverloadConfig::default(),
            host.context.events.clone(),
        );
        let context = host.context.clone();
        let run = run(
            bound,
            connections.clone(),
            Arc::new(move || context.clone()),
            host.stop.subscribe(),
        );
        Self {
            host,
            address,
            connections,
            task: tokio::spawn(run),
        }
    }

    async fn connect(&self) -> (Client<TcpStream>, String) {
        let stream = TcpStream::connect(self.address).await.expect("loopback");
        let mut client = Client { stream };
        let first = client.reply().await;
        (client, first)
    }

    /// Waits until `sessions` sessions are left.
    async fn until_active(&self, sessions: usize) {
        while self.connections.active() != sessions {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn reports_the_chosen_port_and_names_a_taken_address() {
    let host = Host::new(|_| {}).await;
    let bound = Bound::bind(&host.listener).await.expect("loopback");
    assert_ne!(bound.address().port(), 0);
    let taken = Listener {
        address: bound.address(),
        ..host.listener.clone()
    };
    let error = Bound::bind(&taken).await.err().expect("taken");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&bound.address().to_string()), "{error}");
}

#[tokio::test]
async fn refuses_clients_beyond_the_limit_until_a_session_ends() {
    for (sessions, per_client, expected) in [(2, 100, "421 4.3.2 "), (100, 2, "421 4.7.0 ")] {
        let running = Running::new(sessions, per_client).await;
        let (mut first, greeting) = running.connect().await;
        assert!(greeting.starts_with("220 "), "{greeting}");
        let (_second, greeting) = running.connect().await;
        assert!(greeting.starts_with("220 "), "{greeting}");
        let (mut third, refusal) = running.connect().await;
        assert!(refusal.starts_with(expected), "{refusal}");
        assert_eq!(third.rest().await, "");
        first.play(&[("QUIT", "221")]).await;
        running.until_active(1).await;
        let (_fourth, greeting) = running.connect().await;
        assert!(greeting.starts_with("220 "), "{greeting}");
        assert_eq!(running.connections.active(), 2);
    }
}

#[tokio::test]
async fn shutdown_closes_the_listener_and_ends_sessions() {
    let running = Running::new(10, 10).await;
    let (mut client, _) = running.connect().await;
    running.host.stop.send_replace(true);
    running.task.await.expect("no panic");
    assert!(client.rest().await.starts_with("421 4.3.2 "));
    assert!(
        TcpStream::connect(running.address).await.is_err(),
        "the listener is closed"
    );
    while running.connections.active() != 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
