//! The dialogue: order of commands, pipelining, AUTH, TLS, time-outs, shutdown and close.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::host::{Client, Host};
use host_config::ListenerTls;
use host_events::Event;

/// Performs the client's side of the handshake, with trust in the host's own certificate.
async fn secure(host: &Host, client: Client<TcpStream>) -> Client<TlsStream<TcpStream>> {
    let pem = std::fs::read(host.folder.path().join("self-signed.pem")).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&pem).expect("PEM"))
        .expect("usable");
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("supported")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("mail.example.org").expect("a name");
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, client.stream)
        .await
        .expect("TLS");
    Client { stream }
}

fn plain(password: &str) -> String {
    format!("AUTH PLAIN {}", STANDARD.encode(format!("\0anna\0{password}")))
}

#[tokio::test]
async fn replies_from_greeting_to_quit() {
    let host = Host::new(|_| {}).await;
    let mut client = host.greeted().await;
    client
        .play(&[
            ("NOOP", "250 2.0.0"),
            ("VRFY anna", "252"),
            ("EXPN staff", "502"),
            ("HELP", "214-"),
            ("XYZZY", "500 5.5.1"),
            ("DATA", "503"),
            ("QUIT", "221 2.0.0 mail.example.org"),
        ])
        .await;
    assert_eq!(client.rest().await, "");
    assert!(host.captured.ids().is_empty());
}

#[tokio::test]
async fn replies_to_a_pipelined_transaction_in_two_writes() {
    let host = Host::new(|_| {}).await;
    let mut client = host.greeted().await;
    client
        .send("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n")
        .await;
    let mut buffer = [0; 1024];
    let octets = client.stream.read(&mut buffer).await.expect("replies");
    let replies = String::from_utf8_lossy(&buffer[..octets]).into_owned();
    assert_eq!(replies.matches("\r\n").count(), 4, "all at once: {replies}");
    client.send("Subject: x\r\n\r\nx\r\n.\r\nNOOP\r\nQUIT\r\n").await;
    let rest = client.rest().await;
    assert!(rest.starts_with("250 2.0.0 Ok, queued as "), "{rest}");
    assert!(
        rest.ends_with("221 2.0.0 mail.example.org closing connection\r\n"),
        "{rest}"
    );
    assert_eq!(host.spooled().len(), 1);
}

#[tokio::test]
async fn authenticates_over_starttls() {
    let host = Host::new(|_| {}).await.with_tls(ListenerTls::StartTls);
    let mut client = host.connect().await;
    let offer = client.say("EHLO client.example").await;
    assert!(offer.contains("250-STARTTLS\r\n") && !offer.contains("AUTH"), "{offer}");
    client
        .play(&[(&plain("secret"), "538"), ("STARTTLS", "220 2.0.0")])
        .await;
    let mut client = secure(&host, client).await;
    let offer = client.say("EHLO client.example").await;
    assert!(
        offer.contains("250-AUTH PLAIN LOGIN\r\n") && !offer.contains("STARTTLS"),
        "{offer}"
    );
    client
        .play(&[(&plain("wrong"), "535 5.7.8"), (&plain("secret"), "235 2.7.0")])
        .await;
    let reply = client.deliver("", "Subject: x\r\n\r\nx").await;
    assert!(reply.starts_with("250"), "{reply}");
    let message = host.spooled().remove(0);
    let peer = message.client.expect("a client");
    assert_eq!(peer.identity.expect("authenticated").account, "anna");
    assert_eq!(peer.tls.expect("secured").version, "TLSv1.3");
    let content = String::from_utf8(host.content()).expect("text");
    assert!(
        content.contains("\r\n\tby mail.example.org with ESMTPSA id "),
        "{content}"
    );
    let Event::AuthFailed { account, .. } = host.event(4183).await else {
        panic!("another event")
    };
    assert_eq!(account, "anna");
    let events = format!("{:?}", host.captured.events());
    assert!(!events.contains("wrong"), "a password in {events}");
}

#[tokio::test]
async fn serves_implicit_tls() {
    let host = Host::new(|_| {}).await.with_tls(ListenerTls::Implicit);
    let (client, start) = host.connect_unserved().await;
    start();
    let mut client = secure(&host, client).await;
    assert!(client.reply().await.starts_with("220 "));
    let offer = client.say("EHLO client.example").await;
    assert!(
        offer.contains("AUTH PLAIN LOGIN") && !offer.contains("STARTTLS"),
        "{offer}"
    );
}

#[tokio::test]
async fn reports_a_failed_handshake() {
    let host = Host::new(|_| {}).await.with_tls(ListenerTls::StartTls);
    let mut client = host.greeted().await;
    client.play(&[("STARTTLS", "220")]).await;
    client.send("EHLO this.is.no.handshake\r\n").await;
    client.rest().await;
    let Event::SessionAborted { reason, .. } = host.event(5017).await else {
        panic!("another event")
    };
    assert!(reason.starts_with("TLS handshake: "), "{reason}");
}

#[tokio::test]
async fn refuses_plaintext_pipelined_after_starttls() {
    let host = Host::new(|_| {}).await.with_tls(ListenerTls::StartTls);
    let mut client = host.greeted().await;
    client.send("STARTTLS\r\nMAIL FROM:<injected@example.org>\r\n").await;
    let rest = client.rest().await;
    assert!(rest.starts_with("554 5.5.1 "), "{rest}");
    assert_eq!(rest.matches("\r\n").count(), 1, "{rest}");
    host.event(5017).await;
}

#[tokio::test]
async fn requires_authentication_where_the_listener_does() {
    let mut host = Host::new(|_| {}).await;
    host.listener.require_authentication = true;
    host.listener.auth_without_tls = true;
    let mut client = host.greeted().await;
    client
        .play(&[
            ("MAIL FROM:<>", "530 5.7.0 Authentication required"),
            (&plain("secret"), "235"),
            ("MAIL FROM:<>", "250"),
        ])
        .await;
}

#[tokio::test]
async fn command_timeout_ends_a_silent_session() {
    let host = Host::new(|config| config.timeouts.command = Duration::from_millis(50)).await;
    let mut client = host.greeted().await;
    assert!(client.rest().await.starts_with("421 4.4.2 mail.example.org "));
    host.event(5017).await;
}

#[tokio::test]
async fn session_timeout_ends_a_connection() {
    let host = Host::new(|config| config.timeouts.session = Duration::from_millis(50)).await;
    let mut client = host.connect().await;
    assert!(client.rest().await.starts_with("421 4.4.2 "));
}

#[tokio::test]
async fn shutdown_ends_idle_sessions_and_finishes_a_message() {
    let host = Host::new(|_| {}).await;
    let mut idle = host.greeted().await;
    let mut busy = host.greeted().await;
    busy.play(&[
        ("MAIL FROM:<>", "250"),
        ("RCPT TO:<bob@example.org>", "250"),
        ("DATA", "354"),
    ])
    .await;
    host.stop.send_replace(true);
    assert!(idle.rest().await.starts_with("421 4.3.2 mail.example.org "));
    busy.send("Subject: x\r\n\r\nx\r\n.\r\n").await;
    assert!(busy.reply().await.starts_with("250 "));
    assert!(busy.rest().await.starts_with("421 4.3.2 "));
    assert_eq!(host.spooled().len(), 1);
}

/// Each client has a permit at first; slow clients lose the permit.
#[tokio::test]
async fn slow_clients_lose_their_permits() {
    let host = Host::new(|config| config.overload.transactions = 1).await;
    let mut begun = Vec::new();
    for _ in 0..20 {
        let mut client = host.greeted().await;
        client.play(&[("MAIL FROM:<anna@example.org>", "250")]).await;
        begun.push(client);
    }
    // A transaction without a permit continues like a transaction with a permit.
    for mut client in begun {
        client
            .play(&[("RCPT TO:<bob@example.org>", "250"), ("DATA", "354")])
            .await;
        client.send("Subject: late\r\n\r\nHello\r\n.\r\n").await;
        assert!(client.reply().await.starts_with("250 2.0.0"));
    }
    assert_eq!(host.spooled().len(), 20);
}

#[tokio::test]
async fn shutdown_ends_sessions_that_wait_for_a_permit() {
    let host = Host::new(|config| config.overload.transactions = 1).await;
    let mut client = host.greeted().await;
    let (mut held, mut stop) = (Vec::new(), host.stop.subscribe());
    // The idle client loses its permit to this loop.
    while let Ok(permit) = timeout(
        Duration::from_millis(100),
        host.context.session_permits.acquire(&mut stop),
    )
    .await
    {
        held.push(permit);
    }
    let (mut newcomer, start) = host.connect_unserved().await;
    start();
    client.send("MAIL FROM:<anna@example.org>\r\n").await;
    // Lets the client reach the wait for a permit. A client that is still idle ends in the same way.
    tokio::time::sleep(Duration::from_millis(100)).await;
    host.stop.send_replace(true);
    for client in [&mut client, &mut newcomer] {
        assert!(client.rest().await.starts_with("421 4.3.2 mail.example.org "));
    }
}

#[tokio::test]
async fn replies_to_quit_before_the_close() {
    let host = Host::new(|_| {}).await;
    for _ in 0..50 {
        let mut client = host.greeted().await;
        client.send("QUIT\r\n").await;
        assert_eq!(client.rest().await.matches("221 2.0.0").count(), 1);
    }
}

/// Unread input must not cost the client the replies to earlier commands; the client would send the message again.
#[tokio::test]
async fn delivers_replies_despite_input_after_quit() {
    let host = Host::new(|_| {}).await;
    let mut client = host.greeted().await;
    client
        .play(&[
            ("MAIL FROM:<anna@example.org>", "250"),
            ("RCPT TO:<bob@example.org>", "250"),
            ("DATA", "354"),
        ])
        .await;
    let after = "NOOP\r\n".repeat(20_000);
    client
        .send(format!("Subject: last\r\n\r\nHello\r\n.\r\nQUIT\r\n{after}"))
        .await;
    let replies = client.rest().await;
    assert!(
        replies.starts_with("250 2.0.0") && replies.contains("221 2.0.0"),
        "{replies}"
    );
}
