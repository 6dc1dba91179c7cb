//! Worst cases of the allowed size against every stage of the default policy, with the fuel counted. No input that a
//! client controls makes a decision expensive, and none is a fault of the policy.

use std::process::Command;

use posthouse_tests::{PASSWORD, Site, example, posthouse, run};
use serde_json::{Value, json};

/// Fuel that takes 3 ms on a common processor: less than a tenth of the default CPU limit of 100 ms on a slow one.
const TENTH_OF_THE_LIMIT: u64 = 20_000_000;
/// Longest header block that the host reads, in bytes.
const HEADER: usize = 256 * 1024;
/// Maximum number of recipients by default.
const RECIPIENTS: usize = 1000;

/// Returns `piece` repeated and folded to at most `size` bytes with CRLF line ends, below the limit of a text line.
fn folded(piece: &str, size: usize) -> String {
    let mut text = String::new();
    let (mut line, mut lines) = (0, 1);
    while text.len() + lines + piece.len() + 3 < size {
        if line + piece.len() > 900 {
            text.push_str("\n ");
            line = 1;
            lines += 1;
        }
        text.push_str(piece);
        line += piece.len();
    }
    text
}

/// Headers by name: originator fields of every costly shape, and headers of many fields.
fn headers() -> Vec<(String, String)> {
    let mut headers = Vec::new();
    let pieces = [
        "xxxx@b,",
        "a@example.org,",
        "\"q\" <a@example.org>,",
        "(",
        "()",
        "((c))",
        "\\",
        "\"",
        "\"\\\"\" ",
        "<",
        "@",
        ".",
        ":",
        "g:a@example.org;,",
        "g:",
        ";",
        "=?",
        "=?utf-8?q?a?= ",
        "=?utf-8?q?=40?= ",
        "=?utf-8?b?QA==?= ",
        "=?a?q?",
        "anna@example.org <anna@example.org>,",
        "é",
        " ",
        "[",
        "a@[",
    ];
    for field in ["From", "Sender", "Resent-From"] {
        for piece in pieces {
            for (kind, size) in [("long", HEADER - 200), ("16 KiB", 16 * 1024 - 200)] {
                let name = format!("{field} of {piece:?}, {kind}");
                headers.push((name, format!("{field}: {}\n", folded(piece, size))));
            }
            // The text ends as a single address.
            let name = format!("{field} with a name of {piece:?}");
            headers.push((
                name,
                format!("{field}: {} <anna@example.org>\n", folded(piece, 16 * 1024 - 200)),
            ));
        }
        let many = |line: &str| line.repeat((HEADER - 300) / (line.len() + 1));
        headers.push((format!("many {field}"), many(&format!("{field}: anna@example.org\n"))));
        headers.push((
            format!("short lines before {field}"),
            many("a:\n") + &format!("{field}: a@b\n"),
        ));
        headers.push((
            format!("malformed lines before {field}"),
            many("a\n") + &format!("{field}: a@b\n"),
        ));
        headers.push((format!("names like {field}"), many(&format!("{field}x:\n"))));
    }
    headers.push((
        "a field of many lines".into(),
        format!("X: y\n{}", " z\n".repeat(HEADER / 4 - 10)),
    ));
    headers.push(("fields without a name".into(), ":\n".repeat(HEADER / 3 - 10)));
    headers.push(("a long name".into(), format!("{}: x\n", "-".repeat(900)).repeat(280)));
    headers.push((
        "sixteen resent blocks of addresses".into(),
        format!("Resent-From: {}\n", vec!["anna@example.org"; 32].join(",\n ")).repeat(16),
    ));
    headers
}

/// Case file with every worst case: each header from an account and from a stranger, envelopes, and failures.
fn cases() -> Value {
    let mut cases = Vec::new();
    for (name, header) in headers() {
        for (who, client) in [
            ("account", json!({"identity": "anna"})),
            ("stranger", json!({"listener": "mx", "address": "192.0.2.1"})),
        ] {
            let sender = if who == "account" {
                "anna@example.org"
            } else {
                "x@example.net"
            };
            cases.push(json!({
                "name": format!("{name}, by {who}"), "client": client, "sender": sender,
                "recipient": "otto@example.org", "message": format!("{header}\nText\n"),
            }));
        }
    }
    let long = format!("{}@{}example.net", "a".repeat(64), "b.".repeat(80));
    for (name, address) in [
        ("long", long.clone()),
        (
            "dots",
            format!("a@{}example.net", ".a".repeat(100).trim_start_matches('.')),
        ),
    ] {
        cases.push(json!({
            "name": format!("{name} addresses"), "client": {"listener": "mx", "address": "192.0.2.1", "helo": "x".repeat(255)},
            "sender": address, "recipient": address, "message": "From: x@example.net\n\nText\n",
        }));
    }
    let recipients: Vec<String> = (0..RECIPIENTS).map(|n| format!("r{n}@example.org")).collect();
    for (name, address) in [
        ("failures", "x@example.net"),
        ("failed postmasters", "postmaster@example.net"),
    ] {
        let failed = vec![format!("{address}: 550 5.1.1 {}", "t".repeat(400)); RECIPIENTS];
        cases.push(json!({
            "name": name,
            "failure": {"class": "address-not-found", "sender": long, "recipients": recipients, "failed": failed},
        }));
    }
    json!({
        "settings": {
            "homing": {"own-domains": "sender-and-author"},
            "relay": {"to": ["@partner.example"], "never": {"to": ["@blocked.example", "@*.blocked.example"]}},
            "filter": {"senders": ["@spam.example", "bulk@example.com", "<>"]},
        },
        "directory": {
            "domains": ["example.org"],
            "account": [
                {"name": "anna", "addresses": ["anna@example.org"]},
                {"name": "otto", "addresses": ["otto@example.org"]},
            ],
        },
        "case": cases,
    })
}

#[test]
fn no_input_takes_more_than_a_tenth_of_the_cpu_limit() {
    let site = Site::new();
    let file = site.file("worst.toml", toml::to_string(&cases()).expect("TOML"));
    let output = run(
        Command::new(posthouse())
            .args(["policy", "run"])
            .arg(example("posthouse-default-policy"))
            .arg("--case")
            .arg(file)
            .arg("--json"),
        "",
    );
    let report: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.text()));
    let played = report["cases"].as_array().expect("cases");
    assert_eq!(played.len(), cases()["case"].as_array().expect("cases").len());
    let mut worst = (0, String::new());
    for case in played {
        let steps = case["steps"].as_array().expect("steps");
        assert!(!steps.is_empty(), "{case}");
        for step in steps {
            let name = format!("{} of {}", step["stage"], case["name"]);
            let fuel = step["cost"]["fuel"]
                .as_u64()
                .unwrap_or_else(|| panic!("{name}: {step}"));
            assert!(fuel <= TENTH_OF_THE_LIMIT, "{name}: {fuel}");
            assert!(step.get("fault").is_none_or(Value::is_null), "{name}: {step}");
            worst = worst.max((fuel, name));
        }
    }
    println!("{} cases; most fuel: {} for {}", played.len(), worst.0, worst.1);
}

#[test]
fn a_header_of_thousands_of_addresses_is_refused_without_a_fault() {
    let site = Site::new();
    let daemon = site.start();
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    let addresses: Vec<String> = (0..5000).map(|n| format!("x{n:03}@b")).collect();
    let header = format!("From: {}\n\nText\n", addresses.join(",\n "));
    let reply = client.submit("anna@posthouse.test", &["bert@posthouse.test"], &header);
    assert_eq!(reply.line(), "554 5.7.1 From field is too long");
    let header = format!("From: {}\n\nText\n", addresses[..40].join(",\n "));
    let reply = client.submit("anna@posthouse.test", &["bert@posthouse.test"], &header);
    assert_eq!(reply.line(), "554 5.7.1 From field names too many addresses");
    let reply = client.submit(
        "anna@posthouse.test",
        &["bert@posthouse.test"],
        "From: anna@posthouse.test\n\nText\n",
    );
    assert_eq!(reply.code, 250);
    let (_, events) = daemon.stop();
    assert!(events.all(4037).is_empty());
}
