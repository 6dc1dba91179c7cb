//! Snapshots of the JSON documents and the tables that the command line prints.
//!
//! Each output is compared with a file in `snapshots/`. Values that vary between runs, machines or releases are
//! redacted before the comparison. A test fails if its output differs from the snapshot or if the snapshot is missing.
//! The failed test prints the difference and writes the output to a `.snap.new` file, except with `CI` or
//! `INSTA_UPDATE=no` in the environment. After a review of the difference,
//! `INSTA_UPDATE=always cargo test --release --workspace --test json_documents` updates the snapshots.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use insta::{assert_json_snapshot, assert_snapshot, with_settings};
use posthouse_tests::{Daemon, Output, Sink, Site, eventually, example, posthouse, run};
use serde_json::{Value, json};

/// Keys of values that vary between runs, machines or toolchains. [`redact`] keeps the type of the value.
const VARYING: [&str; 27] = [
    "by",
    "cipher",
    "counting",
    "due",
    "expires",
    "fuel",
    "fuel-to-begin",
    "header",
    "inert",
    "instances",
    "max-us",
    "memory",
    "microseconds",
    "modules",
    "others",
    "overload",
    "pid",
    "port",
    "prepared",
    "producers",
    "received",
    "sessions-limit",
    "since",
    "size",
    "started",
    "units",
    "version",
];

/// Redacts the values of the [`VARYING`] keys, at any depth.
fn redact(document: &mut Value) {
    match document {
        Value::Object(fields) => {
            for (key, value) in fields {
                if VARYING.contains(&key.as_str()) {
                    *value = type_of(value);
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

/// Returns the type of a value in brackets, or null.
fn type_of(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => json!("[boolean]"),
        Value::Number(_) => json!("[number]"),
        Value::String(_) => json!("[text]"),
        Value::Array(_) => json!("[list]"),
        Value::Object(_) => json!("[object]"),
    }
}

/// Redacts the folder of the site, the version of the default policy, and every time, id, digest and port.
fn redact_words(text: &str, site: &Site) -> String {
    let default_policy = concat!("default ", env!("CARGO_PKG_VERSION"));
    // The temporary folder may be behind a symbolic link, which absolute paths in the output do not have.
    let real = site.path().canonicalize().expect("the folder exists");
    let text = text
        .replace(&real.display().to_string(), "[site]")
        .replace(&site.path().display().to_string(), "[site]")
        .replace(default_policy, "default [version]");
    let is_separator = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | ':' | '-');
    text.split_inclusive(is_separator)
        .map(|word| {
            let (word, separator) = word.split_at(word.trim_end_matches(is_separator).len());
            redact_word(word) + separator
        })
        .collect()
}

/// Redacts a word. Except for ports, the width is kept, on which the columns of a table depend.
fn redact_word(word: &str) -> String {
    let width = word.len();
    let label = |label: &str| format!("[{label:.<width$}]", width = width - 2);
    match width {
        64 if is_hexadecimal(word) => label("digest"),
        20.. if is_hexadecimal(word) => label("id"),
        24 if word.ends_with('Z') && word.as_bytes()[10] == b'T' => label("time"),
        _ => match word.parse::<SocketAddr>() {
            Ok(address) => format!("{}:[port]", address.ip()),
            Err(_) => word.to_owned(),
        },
    }
}

fn is_hexadecimal(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Redacts the line that begins with `label`, from the column of the values.
fn redact_line(text: &str, label: &str) -> String {
    let redact = |line: &str| match line.trim_start().strip_prefix(label) {
        Some(rest) => line[..line.len() - rest.trim_start().len()].to_owned() + "[text]\n",
        None => format!("{line}\n"),
    };
    text.lines().map(redact).collect()
}

/// Redacts the cells of the column `name`, which must not be wider than the name.
fn redact_column(table: &str, name: &str) -> String {
    let start = table.find(name).expect("the column is in the head");
    let (head, rows) = table.split_once('\n').expect("a table has a head");
    let redact = |row: &str| {
        format!(
            "{}{}{}\n",
            &row[..start],
            "#".repeat(name.len()),
            &row[start + name.len()..]
        )
    };
    format!("{head}\n{}", rows.lines().map(redact).collect::<String>())
}

/// Compares a JSON document with the snapshot `name`.
fn assert_document(name: &str, output: &str, site: &Site) {
    let text = redact_words(output, site);
    let mut document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{output}"));
    redact(&mut document);
    with_settings!({ omit_expression => true }, { assert_json_snapshot!(name, document) });
}

/// Compares text with the snapshot `name`.
fn assert_text(name: &str, output: &str, site: &Site) {
    with_settings!({ omit_expression => true }, { assert_snapshot!(name, redact_words(output, site)) });
}

/// Runs a command that needs no daemon in the site's folder, with a cache of compiled policies below `target`.
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
    let text = redact_line(&site.cli(&["policy", "status"]).ok(), "prepared");
    assert_text("policy-status-text", &redact_line(&text, "in hand"), &site);
}

#[test]
fn prints_policy_history_as_json() {
    let site = site_with_component();
    let _daemon = site.start();
    let load = [
        "policy",
        "load",
        "first-policy.wasm",
        "--settings",
        "{}",
        "--reason",
        "a test",
    ];
    site.cli(&load).ok();
    assert_document(
        "policy-history",
        &site.cli(&["policy", "history", "--json"]).ok(),
        &site,
    );
}

#[test]
fn prints_queue_list_as_json() {
    let (site, _daemon, _sink, _) = host_with_deferred_message();
    assert_document("queue-list", &site.cli(&["queue", "list", "--json"]).ok(), &site);
}

#[test]
fn prints_queue_list_as_table() {
    let (site, _daemon, _sink, _) = host_with_deferred_message();
    let table = redact_column(&site.cli(&["queue", "list"]).ok(), "SIZE");
    assert_text("queue-list-text", &table, &site);
}

#[test]
fn prints_queued_message_as_json() {
    let (site, _daemon, _sink, id) = host_with_deferred_message();
    assert_document("queue-show", &site.cli(&["queue", "show", &id, "--json"]).ok(), &site);
}

#[test]
fn prints_check_of_good_configuration_as_json() {
    let site = Site::new();
    let mut checked: Value = serde_json::from_str(&site.cli(&["check", "--json"]).ok()).expect("JSON");
    // Tests that run as root are told so.
    if let Some(warnings) = checked["warnings"].as_array_mut() {
        warnings.retain(|warning| warning["key"] != "data");
    }
    assert_document("check-good", &checked.to_string(), &site);
}

#[test]
fn prints_check_of_bad_configuration_as_json() {
    let site = bad_site();
    let output = site.cli(&["check", "--json"]);
    assert!(!output.status.success(), "{}", output.text());
    let mut checked: Value = serde_json::from_str(&output.stdout).expect("JSON");
    // The lines are those of the sample site.
    for problem in checked["problems"].as_array_mut().into_iter().flatten() {
        problem["line"] = type_of(&problem["line"]);
    }
    assert_document("check-bad", &checked.to_string(), &site);
}

#[test]
fn prints_check_of_bad_configuration_as_text() {
    let site = bad_site();
    let output = site.cli(&["check"]);
    assert!(!output.status.success(), "{}", output.text());
    let without_numbers = |line: &str| match line.strip_prefix("line ").and_then(|rest| rest.split_once(": ")) {
        Some((_, rest)) => format!("line [number]: {rest}\n"),
        None => format!("{line}\n"),
    };
    let text: String = output.stdout.lines().map(without_numbers).collect();
    assert_text("check-bad-text", &text, &site);
}

/// Creates a site with a number out of range, a word that is no duration and an unknown choice in its configuration.
fn bad_site() -> Site {
    let mut site = Site::new();
    site.set("limits.recipients", 5)
        .set("drain", "soon")
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
    let arguments = [
        "policy",
        "run",
        "first-policy.wasm",
        "--case",
        "cases.toml",
        // Its limit on wall time allows for a busy machine.
        "--config",
        "posthouse.toml",
        "--json",
    ];
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
    let line = eventually("the event in the log", || {
        let lines = site.cli(&["events", "--id", "5006", "--json"]).ok();
        (!lines.is_empty()).then_some(lines)
    });
    assert_document("event", &line, &site);
}
