//! Snapshots of the JSON documents and the tables that the command line prints.
//!
//! Each output is compared with a file in `snapshots/`. Values that vary between runs, machines or releases are
//! redacted before the comparison. A test fails if its output differs from the snapshot or if the snapshot is missing,
//! and leaves the new output in a `.snap.new` file, unless `CI` is set. After a look at the difference,
//! `INSTA_UPDATE=always cargo test --release --workspace --test json_documents` rewrites the snapshots.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use insta::{Settings, assert_json_snapshot, assert_snapshot};
use posthouse_tests::{Daemon, Output, Sink, Site, eventually, example, posthouse, run};
use serde_json::{Value, json};

/// Keys whose values vary. The type of the value is kept, in place of the value.
const VARYING: [&str; 30] = [
    "by",
    "cipher",
    "cost",
    "counting",
    "digest",
    "due",
    "expires",
    "fresh",
    "fuel-to-begin",
    "header",
    "inert",
    "instances",
    "max-us",
    "memory",
    "modules",
    "others",
    "p50-us",
    "p99-us",
    "pid",
    "prepared",
    "producers",
    "received",
    "recent-calls",
    "since",
    "size",
    "started",
    "time",
    "units",
    "until",
    "version",
];

/// Replaces the values of [`VARYING`] keys, at any depth. Null stays null.
fn redact(document: &mut Value) {
    match document {
        Value::Object(fields) => {
            for (key, value) in fields {
                if VARYING.contains(&key.as_str()) {
                    *value = kind(value);
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

/// Returns a marker with the type of the value.
fn kind(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => json!("[boolean]"),
        Value::Number(_) => json!("[number]"),
        Value::String(_) => json!("[text]"),
        Value::Array(_) => json!("[list]"),
        Value::Object(_) => json!("[object]"),
    }
}

/// Replaces the site's folder, and words that vary: times, ids, digests and ports.
fn neutral(text: &str, site: &Site) -> String {
    let text = text.replace(&site.path().display().to_string(), "[site]");
    let is_separator = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | ':' | '-');
    let words = text.split_inclusive(is_separator);
    words
        .map(|word| {
            let end = word.trim_end_matches(is_separator).len();
            let (word, separator) = word.split_at(end);
            neutral_word(word) + separator
        })
        .collect()
}

fn neutral_word(word: &str) -> String {
    let is_hexadecimal = word.bytes().all(|byte| byte.is_ascii_hexdigit());
    match word.len() {
        64 if is_hexadecimal => "[digest]".to_owned(),
        16.. if is_hexadecimal => "[id]".to_owned(),
        24 if word.ends_with('Z') && word.as_bytes()[10] == b'T' => "[time]".to_owned(),
        _ => match word.parse::<SocketAddr>() {
            Ok(address) => format!("{}:[port]", address.ip()),
            Err(_) => word.to_owned(),
        },
    }
}

fn settings() -> Settings {
    let mut settings = Settings::clone_current();
    settings.set_omit_expression(true);
    settings
}

/// Compares a JSON document with the snapshot `name`.
fn assert_document(name: &str, output: &str, site: &Site) {
    let mut document: Value =
        serde_json::from_str(&neutral(output, site)).unwrap_or_else(|error| panic!("{error}:\n{output}"));
    redact(&mut document);
    settings().bind(|| assert_json_snapshot!(name, document));
}

/// Runs the command line in the site's folder, without the site's configuration.
fn cli(site: &Site, arguments: &[&str]) -> Output {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
    let mut command = Command::new(posthouse());
    command
        .current_dir(site.path())
        .args(arguments)
        .env("XDG_CACHE_HOME", cache);
    run(&mut command, "")
}

/// Creates a site whose folder has the component `first-policy.wasm`.
fn site_with_component() -> Site {
    let site = Site::new();
    let component = std::fs::read(example("first-policy")).expect("the component is built with the binary");
    site.file("first-policy.wasm", component);
    site
}

/// Starts a host with one message, whose recipient the next host has deferred. Returns the message id as well.
fn host_with_deferred_message() -> (Site, Daemon, Sink, String) {
    let sink = Sink::smtp();
    sink.answer("RCPT", "451 4.3.0 not now");
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    site.set("delivery.retry", vec!["1h"]);
    let daemon = site.start();
    let id = daemon.submit(&["carl@example.org"], "deferred");
    eventually("the first attempt", || {
        let item: Value = serde_json::from_str(&site.cli(&["queue", "show", &id, "--json"]).ok()).expect("JSON");
        (item["message"]["attempts"] == 1).then_some(())
    });
    (site, daemon, sink, id)
}

#[test]
fn prints_status_as_json() {
    let site = Site::new();
    let _daemon = site.start();
    assert_document("status", &site.cli(&["status", "--json"]).ok(), &site);
}

#[test]
fn prints_policy_status_as_json() {
    let site = Site::new();
    let _daemon = site.start();
    assert_document("policy-status", &site.cli(&["policy", "status", "--json"]).ok(), &site);
}

#[test]
fn prints_policy_status_as_text() {
    let site = Site::new();
    let _daemon = site.start();
    let text = site.cli(&["policy", "status"]).ok();
    settings().bind(|| assert_snapshot!("policy-status-text", neutral(&text, &site)));
}

#[test]
fn prints_policy_history_as_json() {
    let site = site_with_component();
    let _daemon = site.start();
    let load = ["policy", "load", "first-policy.wasm", "--settings", "{}", "--reason", "a test"];
    site.cli(&load).ok();
    assert_document("policy-history", &site.cli(&["policy", "history", "--json"]).ok(), &site);
}

#[test]
fn prints_queue_list_as_json() {
    let (site, _daemon, _sink, _) = host_with_deferred_message();
    assert_document("queue-list", &site.cli(&["queue", "list", "--json"]).ok(), &site);
}

#[test]
fn prints_queue_list_as_table() {
    let (site, _daemon, _sink, _) = host_with_deferred_message();
    let text = site.cli(&["queue", "list"]).ok();
    settings().bind(|| assert_snapshot!("queue-list-text", neutral(&text, &site)));
}

#[test]
fn prints_queued_message_as_json() {
    let (site, _daemon, _sink, id) = host_with_deferred_message();
    assert_document("queue-show", &site.cli(&["queue", "show", &id, "--json"]).ok(), &site);
}

#[test]
fn prints_check_of_good_configuration_as_json() {
    let site = Site::new();
    assert_document("check-good", &site.cli(&["check", "--json"]).ok(), &site);
}

#[test]
fn prints_check_of_bad_configuration_as_json() {
    let site = bad_site();
    let output = site.cli(&["check", "--json"]);
    assert!(!output.status.success(), "{}", output.text());
    assert_document("check-bad", &output.stdout, &site);
}

#[test]
fn prints_check_of_bad_configuration_as_text() {
    let site = bad_site();
    let output = site.cli(&["check"]);
    assert!(!output.status.success(), "{}", output.text());
    settings().bind(|| assert_snapshot!("check-bad-text", neutral(&output.stdout, &site)));
}

/// Creates a site with a wrong value, an unknown key and a wrong type in its configuration.
fn bad_site() -> Site {
    let mut site = Site::new();
    site.set("limits.recipients", 5)
        .set("surprise", true)
        .set("listener.tls", "sometimes");
    site
}

#[test]
fn prints_policy_inspect_as_json() {
    let site = site_with_component();
    let output = cli(&site, &["policy", "inspect", "first-policy.wasm", "--json"]);
    assert_document("policy-inspect", &output.ok(), &site);
}

#[test]
fn prints_policy_explain_as_json() {
    let site = site_with_component();
    let output = cli(&site, &["policy", "explain", "first-policy.wasm", "--json"]);
    assert_document("policy-explain", &output.ok(), &site);
}

#[test]
fn prints_policy_run_as_json() {
    let site = site_with_component();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy-wasm/examples/first-policy/cases.toml");
    std::fs::copy(cases, site.path().join("cases.toml")).expect("the example has cases");
    let arguments = ["policy", "run", "first-policy.wasm", "--case", "cases.toml", "--json"];
    assert_document("policy-run", &cli(&site, &arguments).ok(), &site);
}

#[test]
fn prints_try_as_json() {
    let site = Site::new();
    site.file("message.eml", "From: <stranger@example.org>\r\nSubject: x\r\n\r\nx\r\n");
    let arguments = [
        "try",
        "127.0.0.2",
        "--sender",
        "stranger@example.org",
        "--recipient",
        "anna@posthouse.test",
        "--message",
        "message.eml",
        "--json",
    ];
    assert_document("try", &site.cli(&arguments).ok(), &site);
}

#[test]
fn prints_event_as_json() {
    let site = Site::new();
    let daemon = site.start();
    daemon.submit(&["bert@posthouse.test"], "known");
    daemon.events().take(5006);
    assert_document("event", &site.cli(&["events", "--id", "5006", "--json"]).ok(), &site);
}
