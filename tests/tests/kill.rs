//! Durability: every message acknowledged with 250 survives `kill -9`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use posthouse_tests::{Client, Sink, Site, eventually};

const ROUNDS: u64 = 6;
const CLIENTS: usize = 4;

/// Submits messages until the daemon is killed, and returns the tokens of the acknowledged messages.
fn submit_until_killed(address: SocketAddr, name: &str, stop: &AtomicBool) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let token = format!("token-{name}-{number}-end");
        match submit(address, &token, number) {
            Ok(true) => acknowledged.push(token),
            Ok(false) => {}
            Err(_) => break,
        }
    }
    acknowledged
}

/// Submits a message on a new connection; true if the message was acknowledged with 250.
fn submit(address: SocketAddr, token: &str, number: usize) -> std::io::Result<bool> {
    let mut client = Client::try_connect(address)?;
    // Every seventh message is too long for memory and spills to a file.
    let filler = "some text that takes up space\r\n".repeat(if number.is_multiple_of(7) { 6000 } else { 20 });
    let steps = [
        String::new(),
        "EHLO client.example\r\n".to_owned(),
        "MAIL FROM:<anna@posthouse.test>\r\n".to_owned(),
        "RCPT TO:<somebody@example.org>\r\n".to_owned(),
        "DATA\r\n".to_owned(),
        format!("Subject: {token}\r\n\r\n{filler}.\r\n"),
    ];
    let mut last = 0;
    for step in &steps {
        client.try_send(step.as_bytes())?;
        let reply = client.try_reply()?;
        let reply = reply.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        if reply.code >= 400 {
            return Ok(false);
        }
        last = reply.code;
    }
    Ok(last == 250)
}

/// Random numbers (xorshift64), whose seed is part of the failure message.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Returns the tokens of the messages that arrived at the sink.
fn arrived(sink: &Sink) -> HashSet<String> {
    let tokens: Vec<Option<String>> = sink.collect(|message| {
        let start = message.text.find("token-")?;
        let end = message.text[start..].find("-end")?;
        Some(message.text[start..start + end + 4].to_owned())
    });
    tokens.into_iter().flatten().collect()
}

#[test]
fn acknowledged_messages_survive_kill_9() {
    let sink = Sink::smtp();
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    // Clients are trusted, so that the test is about the spool only.
    site.set("policy.settings", toml::Table::from_iter([trust_loopback()]));
    let seed = u64::from(std::process::id());
    let mut random = Random(seed | 1);
    let mut acknowledged: Vec<String> = Vec::new();

    for round in 0..ROUNDS {
        let daemon = site.start();
        let (address, stop) = (daemon.address("smtp"), Arc::new(AtomicBool::new(false)));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || submit_until_killed(address, &format!("{round}-{client}"), &stop))
            })
            .collect();
        // A fixed sleep on purpose: the moment of the kill is random.
        std::thread::sleep(Duration::from_millis(100 + random.next() % 900));
        daemon.kill();
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            acknowledged.extend(client.join().expect("a client"));
        }
    }

    assert!(!acknowledged.is_empty(), "no message was taken at all");
    let daemon = site.start();
    let mut missing: Vec<String> = acknowledged;
    // The deadline starts again whenever a message arrives.
    while !missing.is_empty() {
        let what = format!("any of {} messages still missing (seed {seed})", missing.len());
        missing = eventually(&what, || {
            let arrived = arrived(&sink);
            let still: Vec<String> = missing
                .iter()
                .filter(|token| !arrived.contains(*token))
                .cloned()
                .collect();
            (still.len() < missing.len()).then_some(still)
        });
    }
    // No message was quarantined or frozen.
    assert!(daemon.events().all(5016).is_empty() && daemon.events().all(4117).is_empty());
    eventually("an empty queue", || {
        let listed = site.cli(&["queue", "list"]).ok();
        (!listed.contains("example.org")).then_some(())
    });
}

/// Returns the setting `accept.hosts` that exempts all of loopback from every check.
fn trust_loopback() -> (String, toml::Value) {
    let settings: toml::Table = r#"
        hosts = [{ network = "127.0.0.0/8", exempt = ["authentication", "encryption", "homing", "originator", "relay"] }]
    "#
    .parse()
    .expect("TOML");
    ("accept".to_owned(), settings.into())
}
