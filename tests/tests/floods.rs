//! Floods of one session, and replies to clients whose input is still unread when the host closes.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use posthouse_tests::{Client, Daemon, Site, eventually};
use rustix::process::Signal;

fn site() -> Site {
    let mut site = Site::new();
    site.set("limits.error-delay", "1ms");
    site
}

/// Sends octets on a new connection while the host stands still, and reads up to the end of the connection.
fn speak_early(daemon: &Daemon, octets: &[u8]) -> String {
    daemon.signal(Signal::STOP);
    eventually("every thread to stand still", || {
        stands_still(daemon.pid()).then_some(())
    });
    let mut stream = TcpStream::connect(daemon.address("smtp")).expect("the host listens");
    stream.write_all(octets).expect("the kernel takes octets");
    daemon.signal(Signal::CONT);
    stream.shutdown(Shutdown::Write).expect("a connection");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("no reset");
    text
}

/// True if each thread of the process is stopped (proc(5), `State`).
fn stands_still(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the daemon runs");
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status.contains("State:\tT")
    })
}

#[test]
fn refused_recipients_end_the_session_and_are_summed() {
    let site = site();
    let daemon = site.start();
    let mut client = daemon.connect_from("127.0.0.2");
    client.ehlo();
    client.command("MAIL FROM:<anna@posthouse.test>", 250);
    let many: String = (0..1000)
        .map(|number| format!("RCPT TO:<nobody{number}@posthouse.test>\r\n"))
        .collect();
    client.send(many.as_bytes());
    for _ in 1..20 {
        client.expect_reply(550);
    }
    client.expect_reply(421);
    client.expect_close();
    let summed = daemon.events().take(5096);
    assert_eq!(
        (summed.text("count"), summed.text("last-stage")),
        ("15".to_owned(), "recipient".to_owned())
    );
    assert_eq!(daemon.events().all(5010).len(), 5);
    assert_eq!(daemon.events().take(5017).text("reason"), "too many errors");
}

#[test]
fn commands_without_effect_end_the_session() {
    let site = site();
    let daemon = site.start();
    let mut client = daemon.connect();
    client.ehlo();
    client.send("NOOP\r\nRSET\r\nVRFY x\r\nHELP\r\n".repeat(100).as_bytes());
    let mut codes = Vec::new();
    while codes.last() != Some(&421) {
        codes.push(client.reply().expect("a reply").code);
    }
    assert_eq!(codes.len(), 99 + 20, "EHLO is one of a hundred");
    client.expect_close();
}

#[test]
fn mail_clears_the_count_of_errors() {
    let site = site();
    let daemon = site.start();
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    for _ in 0..3 {
        for _ in 0..15 {
            client.command("FROBNICATE", 500);
        }
        let reply = client.submit("far@example.org", &["anna@posthouse.test"], "Subject: x\n\nx\n");
        assert_eq!(reply.code, 250);
    }
    client.quit();
}

#[test]
fn early_talkers_read_the_greeting_and_then_554() {
    let site = site();
    let daemon = site.start();
    for octets in [
        &b"QUIT\r\n"[..],
        b"EHLO x\r\nMAIL FROM:<a@b.example>\r\n",
        b"\x16\x03\x01\x02\x00",
    ] {
        for _ in 0..10 {
            let text = speak_early(&daemon, octets);
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 2, "{text:?}");
            assert!(
                lines[0].starts_with("220 mx.posthouse.test ") && lines[1].starts_with("554 5.5.1 "),
                "{text:?}"
            );
        }
    }
    let eager = speak_early(&daemon, &b"NOOP\r\n".repeat(10_000));
    assert!(
        eager.starts_with("220 ") && eager.contains("\r\n554 5.5.1 "),
        "{:?}",
        eager.get(..100)
    );
}

#[test]
fn refused_connection_reads_its_reply_though_it_has_sent_much() {
    let mut site = site();
    site.set("limits.sessions-per-client", 1);
    let daemon = site.start();
    let _first = daemon.connect();
    for _ in 0..20 {
        let text = speak_early(&daemon, &b"NOOP\r\n".repeat(1000));
        assert!(text.starts_with("421 4.7.0 ") && text.ends_with("\r\n"), "{text:?}");
    }
}

#[test]
fn reply_at_the_limit_of_errors_is_read_though_much_follows() {
    let site = site();
    let daemon = site.start();
    for _ in 0..5 {
        let mut client = Client::connect(daemon.address("smtp"), Some("127.0.0.9"));
        client.expect_reply(220);
        client.send(&b"FROBNICATE\r\n".repeat(2000));
        for _ in 1..20 {
            client.expect_reply(500);
        }
        client.expect_reply(421);
        assert!(client.reply().is_none(), "closed in order");
    }
}
