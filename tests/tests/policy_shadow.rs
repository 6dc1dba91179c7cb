//! Decision records, shadow candidates and replay.

use std::path::{Path, PathBuf};
use std::process::Command;

use posthouse_tests::{Daemon, Output, Site, eventually, example};
use serde_json::Value;

/// Settings with which the default policy quarantines mail from a domain.
const FILTER: &str = r#"{"accept": {"from": "anyone"}, "filter": {"senders": ["@example.net"]}}"#;
/// Settings of the sample site, with which no decision changes.
const SAME: &str = r#"{
    "accept": {"from": "authenticated", "hosts": [
        {"network": "127.0.0.2/32", "exempt": ["authentication", "encryption"]},
        {"network": "127.0.0.3/32", "exempt": ["authentication", "encryption", "homing", "originator", "relay"]}]},
    "homing": {"required": true, "match-account": true}}"#;

/// Submits a message from the host that is exempt from every check.
fn submit(daemon: &Daemon, sender: &str, subject: &str) {
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    let message = format!("From: <{sender}>\nSubject: {subject}\n\nHello.\n");
    let reply = client.submit(sender, &["bert@posthouse.test"], &message);
    assert_eq!(reply.code, 250, "{}", client.transcript());
    client.quit();
}

/// Sends a refused recipient, so that the records contain a rejection.
fn submit_refused_recipient(daemon: &Daemon) {
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    client.command("MAIL FROM:<a@example.com>", 250);
    client.command("RCPT TO:<nobody@posthouse.test>", 550);
    client.quit();
}

/// Submits a message from the exempt host that fails the homing check, and waits for the report.
fn submit_not_homed(daemon: &Daemon) {
    let mut client = daemon.connect_from("127.0.0.2");
    client.ehlo();
    let message = "From: <stranger@example.org>\nSubject: failing\n\nHello.\n";
    let reply = client.submit("stranger@example.org", &["anna@posthouse.test"], message);
    assert_eq!(reply.code, 250, "{}", client.transcript());
    daemon.events().take(5008);
}

fn site_with_record(mode: &str) -> Site {
    let mut site = Site::new();
    site.set("policy.record", mode);
    site
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", output.text()))
}

fn records(site: &Site) -> Vec<Value> {
    let output = site.cli(&["policy", "record", "list", "--last", "1000", "--json"]).ok();
    output
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record a line"))
        .collect()
}

/// Waits until the log contains `count` units of work, because records are written after the mail.
fn recorded(site: &Site, count: usize) -> Vec<Value> {
    eventually("the records", || {
        Some(records(site)).filter(|records| records.len() >= count)
    })
}

fn diff(site: &Site) -> Value {
    json(&site.cli(&["policy", "diff", "--json"]))
}

#[test]
fn endless_shadow_delays_no_mail_and_is_reported_once() {
    let site = Site::new();
    let daemon = site.start();
    let spins = example("misbehaving").display().to_string();
    let settings = r#"{"mode": "loop", "stage": "sender"}"#;
    site.cli(&["policy", "shadow", &spins, "--settings", settings, "--for", "10m"])
        .ok();
    assert_eq!(daemon.events().take(5033).text("policy"), "main");
    for number in 0..30 {
        submit(&daemon, "far@example.org", &format!("beside the shadow {number}"));
    }
    let report = eventually("a fault in the shadow", || {
        Some(diff(&site)).filter(|report| report["comparison"]["faulted"].as_u64() > Some(1))
    });
    assert!(
        report["comparison"]["faults"]["cpu-timeout"].as_u64() > Some(0),
        "{report:#}"
    );
    assert_eq!(daemon.events().take(5035).text("class"), "cpu-timeout");
    site.cli(&["policy", "shadow", "--stop"]).ok();
    let ended = daemon.events().take(5034);
    assert!(ended.text("reason").starts_with("stopped by uid "), "{ended:?}");
    let (status, events) = daemon.stop();
    assert!(status.success());
    assert_eq!(events.all(5035).len(), 1, "one for each class");
    assert_eq!(events.all(4037).len(), 0, "no mail met it");
}

#[test]
fn slow_shadow_drops_samples_and_changes_no_answer() {
    let mut site = Site::new();
    let misbehaving = example("misbehaving").display().to_string();
    site.set("policy.file", misbehaving.clone());
    site.set(
        "policy.settings",
        toml::Table::from_iter([("stamp".to_owned(), "active".into())]),
    );
    site.set("policy-engine.shadow-cpu", "1%");
    let daemon = site.start();
    let slow = r#"{"mode": "slow", "stage": "recipient", "stamp": "shadow"}"#;
    site.cli(&["policy", "shadow", &misbehaving, "--settings", slow, "--for", "10m"])
        .ok();
    let mut sent = 0;
    let report = eventually("samples that are dropped, and some that are not", || {
        for _ in 0..20 {
            submit(&daemon, "a@example.com", "beside a slow one");
            sent += 1;
        }
        Some(diff(&site))
            .filter(|report| report["dropped"].as_u64() > Some(0) && report["comparison"]["same"].as_u64() > Some(0))
    });
    assert!(report["ended"].is_null(), "{report:#}");
    let delivered = eventually("every letter", || {
        let letters = site.mailbox("bert").messages();
        (letters.len() >= sent).then_some(letters)
    });
    assert_eq!(delivered.len(), sent);
    for letter in delivered {
        assert!(letter.text.contains("X-Stamp: active "), "{}", letter.text);
    }
    let (status, events) = daemon.stop();
    assert!(status.success());
    assert!(events.all(4037).is_empty(), "no mail met it");
}

#[test]
fn shadow_shows_differences_without_effect() {
    let site = Site::new();
    let daemon = site.start();
    let none = site.cli(&["policy", "diff"]);
    assert_eq!(code(&none), 2, "{}", none.text());
    site.cli(&["policy", "shadow", "--settings", FILTER, "--for", "10m"])
        .ok();
    let second = site.cli(&["policy", "shadow", "--settings", FILTER]).failed();
    assert!(second.contains("stop it first"), "{second}");
    submit(&daemon, "a@example.com", "as ever");
    let seen = eventually("the first letter", || {
        let output = site.cli(&["policy", "diff"]);
        (!output.stdout.contains("\n0 compared")).then_some(output)
    });
    assert!(seen.stdout.contains("shadow of main"), "{}", seen.text());
    submit(&daemon, "x@example.net", "would be set aside");
    let report = eventually("a change", || {
        let report = diff(&site);
        let changes = report["comparison"]["changes"].as_array().cloned().unwrap_or_default();
        changes
            .into_iter()
            .find(|change| change["stage"] == "message" && change["to"]["rule"] == "filter")
    });
    assert_eq!(report["to"]["verdict"], "quarantine turf");
    assert_eq!(
        report["examples"][0]["subject"]
            .as_str()
            .map(|text| text.contains("x@example.net")),
        Some(true)
    );
    let shown = site.cli(&["policy", "diff"]);
    assert_eq!(code(&shown), 1);
    assert!(shown.stdout.contains("-> quarantine turf (filter)"), "{}", shown.text());
    site.mailbox("bert").expect("would be set aside");
    // A new active generation ends the shadow.
    site.cli(&["policy", "load", "--settings", FILTER]).ok();
    assert_eq!(
        daemon.events().take(5034).text("reason"),
        "the active generation has changed"
    );
    assert_eq!(
        code(&site.cli(&["policy", "diff"])),
        1,
        "what it found can still be read"
    );
    assert!(
        site.cli(&["policy", "shadow", "--stop"])
            .failed()
            .contains("there is no shadow")
    );
}

#[test]
fn active_policy_replays_records_without_a_difference() {
    let site = site_with_record("on");
    let daemon = site.start();
    submit(&daemon, "a@example.com", "first");
    submit(&daemon, "x@example.net", "second");
    submit_refused_recipient(&daemon);
    submit_not_homed(&daemon);
    // Expected are four connections, four transactions and a notification.
    let all = recorded(&site, 9);
    assert_eq!(all.len(), 9);

    let same = site.cli(&["policy", "replay", "--settings", SAME, "--json"]);
    assert_eq!(code(&same), 0, "{}", same.text());
    let found = json(&same);
    assert_eq!(
        (&found["different"], &found["unrecorded"]),
        (&0.into(), &0.into()),
        "{found:#}"
    );
    let file = example("posthouse-default-policy").display().to_string();
    let same = site.cli(&["policy", "replay", &file]);
    assert_eq!(code(&same), 0, "with the settings in force: {}", same.text());
    // Without FILE the active code is replayed, not the configured code, which would refuse the settings.
    let loaded = example("misbehaving").display().to_string();
    site.cli(&["policy", "load", &loaded, "--settings", "{}"]).ok();
    let panics = r#"{"mode": "panic", "stage": "sender"}"#;
    let other = site.cli(&["policy", "replay", "--settings", panics]);
    assert_eq!(code(&other), 1, "{}", other.text());
    assert!(other.stdout.contains("-> fault panic"), "{}", other.text());

    let export = site.path().join("decisions.jsonl");
    site.cli(&["policy", "record", "export", &export.display().to_string()])
        .ok();
    let lines = std::fs::read_to_string(&export).expect("an export");
    assert_eq!(lines.lines().count(), 9);
    let (status, _) = daemon.stop();
    assert!(status.success());

    // Replay of an export needs no daemon.
    let export = export.display().to_string();
    let other = site.cli(&["policy", "replay", "--settings", FILTER, "--from", &export]);
    assert_eq!(code(&other), 1, "{}", other.text());
    assert!(other.stdout.contains("-> quarantine turf (filter)"), "{}", other.text());
    let nothing = site.cli(&[
        "policy",
        "replay",
        "--settings",
        SAME,
        "--from",
        &export,
        "--since",
        "1ms",
    ]);
    assert_eq!(code(&nothing), 2, "{}", nothing.text());
}

#[test]
fn decision_log_survives_a_restart() {
    let site = site_with_record("on");
    let daemon = site.start();
    submit(&daemon, "a@example.com", "before");
    let before = recorded(&site, 2);
    let (status, _) = daemon.stop();
    assert!(status.success());
    let daemon = site.start();
    submit(&daemon, "a@example.com", "after");
    let after = recorded(&site, 4);
    assert_eq!(after[..2], before[..]);
    // The order is undefined: the admission and the transaction may have ended in the same millisecond.
    let mut new = after[2..].iter();
    let transaction = new.find(|record| record.to_string().contains("bert@posthouse.test"));
    let id = transaction.and_then(|record| record["id"].as_str()).expect("an id");
    let shown = site.cli(&["policy", "record", "show", id]).ok();
    assert!(shown.contains("recipient <bert@posthouse.test>"), "{shown}");
    assert!(
        shown.contains(r#"{"lookup":{"address":"bert@posthouse.test"}}"#),
        "{shown}"
    );
    let last = site.cli(&["policy", "record", "list", "--last", "1"]).ok();
    let newest = after[3]["id"].as_str().expect("an id");
    assert!(last.lines().count() == 1 && last.contains(newest), "{last}");
    let missing = site.cli(&["policy", "record", "show", "00000000000000000000"]).failed();
    assert!(missing.contains("there is no record"), "{missing}");
    assert!(
        site.cli(&["policy", "record", "list", "--as", "nobody"])
            .ok()
            .is_empty()
    );
}

#[test]
fn hashed_records_contain_no_names() {
    let site = site_with_record("hashed");
    let daemon = site.start();
    submit(&daemon, "secret.person@example.com", "confidential");
    let text = serde_json::to_string(&recorded(&site, 2)).expect("JSON");
    for secret in ["secret.person", "confidential", "bert", "127.0.0.3"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(text.contains("@example.com"), "{text}");
    let replayed = site.cli(&["policy", "replay", "--settings", SAME]);
    assert_eq!(code(&replayed), 2, "nothing can be compared: {}", replayed.text());
    assert!(replayed.stdout.contains("4 skipped"), "{}", replayed.text());
}

#[test]
fn escapes_hostile_content_in_an_export() {
    let site = site_with_record("on");
    let daemon = site.start();
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    client.command("MAIL FROM:<a@example.com> BODY=8BITMIME", 250);
    client.command("RCPT TO:<bert@posthouse.test>", 250);
    client.data("Subject: \u{1b}]0;owned\u{7} \u{202e}right to left\n\nHello.\n");
    client.quit();
    recorded(&site, 2);
    let exported = site.cli(&["policy", "record", "export", "-"]).ok();
    assert_eq!(exported.lines().count(), 2);
    assert!(!exported.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{exported:?}");
    assert!(exported.contains("right to left"), "{exported}");
}

/// A small file system mounted at a folder; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts a tmpfs; `None` without the permission to mount.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).expect("the folder can be made");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }

    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.0).expect("a file system");
        found.f_bavail * found.f_frsize
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A failure leaves a mount in a temporary folder.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn low_disk_space_drops_records_but_no_mail() {
    const MIB: u64 = 1 << 20;
    let mut site = site_with_record("on");
    site.set("low-water", "16MiB");
    let Some(disk) = SmallDisk::mount(&site.path().join("data"), "size=96m") else {
        posthouse_tests::skipped("no file system can be mounted here");
        return;
    };
    let daemon = site.start();
    submit(&daemon, "a@example.com", "with room");
    recorded(&site, 2);

    // The remaining space is enough for mail, but not for decision records.
    let ballast = disk.0.join("ballast");
    let bytes = vec![0; usize::try_from(disk.free() - 24 * MIB).expect("a size")];
    std::fs::write(&ballast, bytes).expect("there is room for it");
    let mut sent = 0;
    let dropped = eventually("a record that is dropped", || {
        sent += 1;
        submit(&daemon, "a@example.com", &format!("without room {sent}"));
        (!daemon.events().all(5036).is_empty()).then(|| daemon.events().take(5036))
    });
    assert!(dropped.text("reason").contains("bytes free"), "{dropped:?}");
    for number in 0..5 {
        submit(&daemon, "a@example.com", &format!("still without room {number}"));
    }
    site.mailbox("bert").expect("still without room 4");

    std::fs::remove_file(&ballast).expect("ballast");
    eventually("records again", || {
        submit(&daemon, "a@example.com", "with room again");
        (!daemon.events().all(5049).is_empty()).then_some(())
    });
    assert_eq!(daemon.events().all(5036).len(), 1, "told once");
    assert_eq!(daemon.events().all(5013).len(), 0, "mail had room all the time");
}
