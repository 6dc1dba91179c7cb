//! Events of a message: complete, and in the order of what happened.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use posthouse_tests::{Client, Daemon, Sink, Site};
use serde_json::Value;

/// Submits a message for `recipient` on a new connection, and returns the id if it was acknowledged with 250.
fn submit(address: SocketAddr, recipient: &str) -> std::io::Result<Option<String>> {
    let mut client = Client::try_connect(address)?;
    let mut id = None;
    for step in [
        "",
        "EHLO client.example\r\n",
        "MAIL FROM:<anna@posthouse.test>\r\n",
        &format!("RCPT TO:<{recipient}>\r\n"),
        "DATA\r\n",
        "Subject: in order\r\n\r\ntext\r\n.\r\n",
    ] {
        client.try_send(step.as_bytes())?;
        let reply = client.try_reply()?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        id = (reply.code == 250).then(|| reply.line().rsplit(' ').next().unwrap_or_default().to_owned());
    }
    Ok(id)
}

/// Submits from `clients` threads until each has `most` messages or the connection fails. Returns the ids.
fn submit_many(address: SocketAddr, recipient: &'static str, clients: usize, most: usize) -> Vec<String> {
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            std::thread::spawn(move || {
                let submitted = (0..most).map_while(|_| submit(address, recipient).ok());
                submitted.flatten().collect::<Vec<String>>()
            })
        })
        .collect();
    let ids = threads.into_iter().map(|thread| thread.join().expect("a client"));
    ids.flatten().collect()
}

/// A site whose clients are trusted.
fn trusting_site() -> Site {
    let mut site = Site::new();
    site.set("policy.settings", toml::Table::new());
    site
}

/// Returns the files in a folder and below.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the event log");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

/// Returns the ids of all events about each message, in the order of the durable log over all its shares.
fn events_by_message(site: &Site) -> HashMap<String, Vec<u64>> {
    let segments = files(&site.path().join("data/events"));
    let texts = segments
        .iter()
        .map(|segment| std::fs::read_to_string(segment).expect("a segment"));
    let mut events: Vec<Value> = Vec::new();
    for text in texts {
        events.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
    }
    events.sort_by_key(|event| event["seq"].as_u64());
    let mut found: HashMap<String, Vec<u64>> = HashMap::new();
    for event in &events {
        if let (Some(id), Some(message)) = (event["id"].as_u64(), event["fields"]["message"].as_str()) {
            found.entry(message.to_owned()).or_default().push(id);
        }
    }
    found
}

#[test]
fn acceptance_is_the_first_event_of_a_message() {
    let sink = Sink::smtp();
    sink.answer("RCPT TO:<gone@", "550 5.1.1 gone");
    sink.answer("RCPT TO:<busy@", "451 4.3.0 busy");
    let mut site = trusting_site();
    site.add(&format!(
        "[[delivery.route]]\ndomain = \"example.org\"\nto = \"{}\"\n",
        sink.address()
    ));
    site.set("policy.settings.relay.to", vec!["@example.org"]);
    let daemon = site.start();
    let address = daemon.address("smtp");
    let mut submitted = Vec::new();
    for (recipient, last) in [
        ("bert@posthouse.test", 5007),
        ("gone@example.org", 5008),
        ("busy@example.org", 2000),
    ] {
        let ids = submit_many(address, recipient, 3, 20);
        assert_eq!(ids.len(), 60, "{recipient}");
        for id in &ids {
            daemon.events().take_where(last, |event| event.text("message") == *id);
        }
        submitted.extend(ids);
    }
    drop(daemon.stop());
    let events = events_by_message(&site);
    for id in submitted {
        let ids = &events[&id];
        assert_eq!(
            (ids[0], ids.iter().filter(|id| **id == 5006).count()),
            (5006, 1),
            "{id}: {ids:?}"
        );
    }
}

#[test]
fn finding_of_this_host_is_an_event_with_the_reply() {
    let mut site = trusting_site();
    site.set("policy.settings.relay.to", vec!["@example.org"]);
    let daemon: Daemon = site.start();
    let id = submit(daemon.address("smtp"), "a@example.org")
        .expect("a connection")
        .expect("accepted");
    let found = daemon.events().take(5121);
    assert_eq!(found.text("message"), id);
    assert_eq!(found.text("class"), "host-not-found");
    assert_eq!(found.text("reply"), "550 5.4.4 No route to example.org");
}

#[test]
fn acknowledged_message_has_its_event_after_kill_9() {
    let site = trusting_site();
    let mut acknowledged = Vec::new();
    for _ in 0..4 {
        let daemon = site.start();
        let address = daemon.address("smtp");
        let clients = std::thread::spawn(move || submit_many(address, "bert@posthouse.test", 4, usize::MAX));
        // Deliveries are under way: the kill comes between acceptances and removals.
        for _ in 0..100 {
            daemon.events().take(5007);
        }
        daemon.kill();
        acknowledged.extend(clients.join().expect("the clients"));
    }
    drop(site.start().stop());
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    let events = events_by_message(&site);
    let lacks = |id: &&String| !events.get(*id).is_some_and(|ids| ids.contains(&5006));
    let missing: Vec<&String> = acknowledged.iter().filter(lacks).collect();
    assert!(
        missing.is_empty(),
        "{} of {}: {missing:?}",
        missing.len(),
        acknowledged.len()
    );
    for (id, ids) in &events {
        assert!(!ids.contains(&5007) || ids[0] == 5006, "{id}: {ids:?}");
    }
}
