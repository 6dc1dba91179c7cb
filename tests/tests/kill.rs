//! What was promised is kept: every message that got its 250 is still there after `kill -9`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use posthouse_tests::{Client, Sink, Site, eventually};

const ROUNDS: u64 = 6;
const CLIENTS: usize = 4;

/// Submits until the daemon is gone; the names of the messages that got a 250.
fn submit_until_the_end(address: SocketAddr, name: &str, stop: &AtomicBool) -> Vec<String> {
    let mut promised = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let token = format!("token-{name}-{number}-end");
        match submit(address, &token, number) {
            Ok(true) => promised.push(token),
            Ok(false) => {}
            Err(_) => break,
        }
    }
    promised
}

/// One message on a connection of its own; true if it was promised to be delivered.
fn submit(address: SocketAddr, token: &str, number: usize) -> std::io::Result<bool> {
    let mut client = Client::try_connect(address)?;
    // Some are longer than what is kept in memory.
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

/// A small generator is enough, and its seed is part of a failure's story.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// How many of the promised messages the sink has.
fn arrived(sink: &Sink) -> HashSet<String> {
    let tokens: Vec<Option<String>> = sink.collect(|message| {
        let start = message.text.find("token-")?;
        let end = message.text[start..].find("-end")?;
        Some(message.text[start..start + end + 4].to_owned())
    });
    tokens.into_iter().flatten().collect()
}

#[test]
fn everything_promised_is_there_after_kill_9() {
    let sink = Sink::smtp();
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    // A trusted client need not authenticate: this is about the spool.
    site.set("policy.settings", toml::Table::from_iter([trusting()]));
    let seed = u64::from(std::process::id());
    let mut random = Random(seed | 1);
    let mut promised: Vec<String> = Vec::new();

    for round in 0..ROUNDS {
        let daemon = site.start();
        let (address, stop) = (daemon.address("smtp"), Arc::new(AtomicBool::new(false)));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || submit_until_the_end(address, &format!("{round}-{client}"), &stop))
            })
            .collect();
        // The one place that waits for a length of time: the moment of the cut is to be random.
        std::thread::sleep(Duration::from_millis(100 + random.next() % 900));
        daemon.kill();
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            promised.extend(client.join().expect("a client"));
        }
    }

    assert!(!promised.is_empty(), "no message was taken at all");
    let daemon = site.start();
    let mut missing: Vec<String> = promised;
    // As long as something arrives there is patience.
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
    // Nothing was set aside or frozen on the way.
    assert!(daemon.events().all(5016).is_empty() && daemon.events().all(4117).is_empty());
    eventually("an empty queue", || {
        let listed = site.cli(&["queue", "list"]).ok();
        (!listed.contains("example.org")).then_some(())
    });
}

/// `accept.hosts` that excuses all of loopback from everything.
fn trusting() -> (String, toml::Value) {
    let settings: toml::Table = r#"
        hosts = [{ network = "127.0.0.0/8", exempt = ["authentication", "encryption", "homing", "originator", "relay"] }]
    "#
    .parse()
    .expect("TOML");
    ("accept".to_owned(), settings.into())
}
