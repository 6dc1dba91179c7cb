//! Clients behind a load balancer, whose addresses are taken from PROXY headers.

use posthouse_tests::{Client, Daemon, PASSWORD, Site};

/// Address of the load balancer, which is also the default address of the tests' clients.
const BALANCER: &str = "127.0.0.1";

fn site() -> Site {
    let mut site = Site::new();
    site.set("listener.proxies", vec![BALANCER]);
    site
}

/// Connects from the balancer's address and sends a PROXY header.
fn connect_with_header(daemon: &Daemon, header: &[u8]) -> Client {
    let mut client = Client::connect(daemon.address("smtp"), Some(BALANCER));
    client.send(header);
    client
}

fn for_client(daemon: &Daemon, address: &str) -> Client {
    let mut client = connect_with_header(daemon, format!("PROXY TCP4 {address} 192.0.2.1 4321 25\r\n").as_bytes());
    client.expect_reply(220);
    client.command("EHLO client.example", 250);
    client
}

#[test]
fn applies_exemptions_to_clients_behind_a_balancer() {
    let site = site();
    let daemon = site.start();
    let mut exempt = for_client(&daemon, "127.0.0.2");
    exempt.command("MAIL FROM:<anna@posthouse.test>", 250);
    exempt.command("RCPT TO:<bert@posthouse.test>", 250);
    exempt.command("DATA", 354);
    exempt.send(b"From: <anna@posthouse.test>\r\nSubject: from behind\r\n\r\nHello.\r\n.\r\n");
    exempt.expect_reply(250);
    let delivered = site.mailbox("bert").expect("from behind");
    assert!(delivered.text.contains("([127.0.0.2])"), "{}", delivered.text);

    let mut other = for_client(&daemon, "127.0.0.4");
    other.command("MAIL FROM:<anna@posthouse.test>", 530);
}

#[test]
fn ignores_headers_of_other_clients() {
    let site = site();
    let daemon = site.start();
    let mut direct = daemon.connect_from("127.0.0.4");
    direct.login("anna", PASSWORD);
    direct.quit();
    let mut liar = Client::connect(daemon.address("smtp"), Some("127.0.0.4"));
    liar.expect_reply(220);
    liar.command("PROXY TCP4 127.0.0.2 192.0.2.1 4321 25", 500);
    liar.ehlo();
    liar.command("MAIL FROM:<anna@posthouse.test>", 530);
}

/// Sends a header of version 2 for 127.0.0.2 port 4321 to 192.0.2.1 port 25, and the header of a health check (LOCAL).
#[test]
fn accepts_headers_of_version_2() {
    let site = site();
    let daemon = site.start();
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x02\xc0\0\x02\x01\x10\xe1\0\x19";
    let mut client = connect_with_header(&daemon, header);
    client.expect_reply(220);
    client.command("EHLO client.example", 250);
    client.command("MAIL FROM:<anna@posthouse.test>", 250);
    let mut look = connect_with_header(&daemon, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    look.expect_reply(220);
    look.command("QUIT", 221);
}

#[test]
fn closes_balancer_connections_without_a_header() {
    let site = site();
    let daemon = site.start();
    for (header, why) in [
        (&b"EHLO client.example\r\n"[..], "what came is none"),
        (b"PROXY TCP4 here there 1 2\r\n", ""),
        (&[b"PROXY TCP4 ", &[b'1'; 200][..]].concat(), "longer than 107 octets"),
    ] {
        connect_with_header(&daemon, header).expect_close();
        let event = daemon.events().take(5017);
        let reason = event.text("reason");
        assert!(
            reason.starts_with("no PROXY header: ") && reason.contains(why),
            "{event:?}"
        );
        assert_eq!(event.text("client"), BALANCER);
    }
    // A silent connection does not block others.
    let _silent = Client::connect(daemon.address("smtp"), Some(BALANCER));
    for_client(&daemon, "127.0.0.4").command("NOOP", 250);
}

#[test]
fn limits_sessions_by_the_clients_address() {
    let mut site = site();
    site.set("limits.sessions-per-client", 2);
    let daemon = site.start();
    let _two = [for_client(&daemon, "192.0.2.7"), for_client(&daemon, "192.0.2.7")];
    let mut third = connect_with_header(&daemon, b"PROXY TCP4 192.0.2.7 192.0.2.1 4321 25\r\n");
    third.expect_reply(421);
    for_client(&daemon, "192.0.2.8").command("NOOP", 250);
}

/// Sends the TLS handshake immediately after the header.
#[test]
fn starts_implicit_tls_after_the_header() {
    let mut site = Site::new();
    site.set("listener.tls", "implicit");
    site.set("listener.proxies", vec![BALANCER]);
    let daemon = site.start();
    let mut client = connect_with_header(&daemon, b"PROXY TCP4 127.0.0.2 192.0.2.1 4321 25\r\n");
    client.handshake();
    client.expect_reply(220);
    client.command("EHLO client.example", 250);
    client.command("MAIL FROM:<anna@posthouse.test>", 250);
}
