//! The last good code of the ledger serves in place of a bad configured file, at a start and at a reload.

use std::path::{Path, PathBuf};

use posthouse_tests::{Daemon, Site, example, guest};
use serde_json::Value;

/// Damage to the configured component.
type Damage = fn(&Site, &Path);

/// A component file `policy.wasm` in the site's folder, configured with settings that any component takes.
fn site() -> (Site, PathBuf) {
    let mut site = Site::new();
    let file = site.file("policy.wasm", std::fs::read(example("misbehaving")).expect("built"));
    site.set("policy.file", file.display().to_string());
    site.set("policy.settings", toml::Table::new());
    (site, file)
}

fn damages() -> [(&'static str, Damage); 6] {
    [
        ("missing", |_, file| std::fs::remove_file(file).expect("removed")),
        ("truncated", |_, file| {
            let bytes = std::fs::read(file).expect("read");
            std::fs::write(file, &bytes[..bytes.len() / 2]).expect("written");
        }),
        ("empty", |_, file| std::fs::write(file, "").expect("written")),
        // A folder is unreadable for every user, root included.
        ("unreadable", |_, file| {
            std::fs::remove_file(file).expect("removed");
            std::fs::create_dir(file).expect("made");
        }),
        ("not compilable", |_, file| {
            std::fs::write(file, "(not webassembly)").expect("written");
        }),
        ("of another contract", |site, file| {
            let other = guest("other-contract", site.path());
            std::fs::rename(other, file).expect("moved");
        }),
    ]
}

fn status(site: &Site) -> Value {
    let said = site.cli(&["status", "--json"]);
    serde_json::from_str(&said.stdout).expect("status is JSON")
}

/// Sends MAIL FROM and returns the reply code.
fn mail_from(daemon: &Daemon) -> u16 {
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    client.send(b"MAIL FROM:<far@example.org>\r\n");
    let code = client.reply().expect("a reply").code;
    client.quit();
    code
}

/// Checks that generation 1 serves, loudly.
fn assert_restored(site: &Site, daemon: &Daemon, what: &str) {
    let refused = daemon.events().take(5004);
    let restored = daemon.events().take(5005);
    assert_eq!(restored.text("policy"), "main", "{what}: {restored:?}");
    assert!(!refused.text("problems").is_empty(), "{what}: {refused:?}");
    assert_eq!(mail_from(daemon), 250, "{what}");
    let status = status(site);
    assert_eq!(status["health"]["condition"], "degraded", "{what}: {status:#}");
    let reason = status["health"]["reasons"][0].to_string();
    assert!(
        reason.contains("runs instead of the configured policy"),
        "{what}: {reason}"
    );
    assert_eq!(status["policies"][0]["generation"], 1, "{what}");
}

#[test]
fn bad_file_at_a_start_leaves_the_last_good_code_serving() {
    for (what, damage) in damages() {
        let (site, file) = site();
        let (stopped, _) = site.start().stop();
        assert!(stopped.success());
        damage(&site, &file);
        for _ in 0..2 {
            let daemon = site.start();
            assert_restored(&site, &daemon, what);
            daemon.stop();
        }
        let history = site.start();
        let said = site.cli(&["policy", "history"]).ok();
        assert_eq!(
            said.lines().filter(|line| line.contains(" start ")).count(),
            1,
            "{what}: {said}"
        );
        drop(history);
    }
}

#[test]
fn bad_file_at_a_reload_leaves_the_running_code_serving() {
    for (what, damage) in damages() {
        let (mut site, file) = site();
        let daemon = site.start();
        let sound = std::fs::read(&file).expect("read");
        damage(&site, &file);
        site.set("limits.message-size", "2MiB");
        let said = site.cli(&["reload"]).failed();
        assert!(said.contains("not applied: policy[0].file"), "{what}: {said}");
        assert_restored(&site, &daemon, what);
        // The rest of the configuration is applied.
        let greeting = daemon.connect().ehlo();
        assert!(
            greeting.lines.iter().any(|line| line.ends_with("SIZE 2097152")),
            "{greeting:?}"
        );
        // The reason goes with the problem.
        let _ = std::fs::remove_dir(&file);
        std::fs::write(&file, sound).expect("written");
        site.cli(&["reload"]).ok();
        assert_eq!(status(&site)["health"]["condition"], "running", "{what}");
    }
}

#[test]
fn older_code_serves_if_the_last_is_damaged_too() {
    let (mut site, file) = site();
    let daemon = site.start();
    let q178091 = example("q178091").display().to_string();
    site.cli(&["policy", "load", &q178091, "--settings", "{}"]).ok();
    let digest = status(&site)["policies"][0]["digest"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let (stopped, _) = daemon.stop();
    assert!(stopped.success());
    std::fs::write(site.path().join(format!("data/policies/{digest}.wasm")), "damaged").expect("written");
    std::fs::remove_file(file).expect("removed");
    let daemon = site.start();
    daemon.events().take(5005);
    assert_eq!(status(&site)["policies"][0]["name"], "misbehaving");
    assert_eq!(mail_from(&daemon), 250);
    let (stopped, _) = daemon.stop();
    assert!(stopped.success());

    // Without any good code the host starts, and refuses its clients.
    std::fs::remove_dir_all(site.path().join("data/policies")).expect("removed");
    site.set("policy.file", "nowhere.wasm");
    let daemon = site.start();
    daemon.events().take(5019);
    let mut client = posthouse_tests::Client::connect(daemon.address("smtp"), None);
    client.expect_reply(421);
    assert_eq!(status(&site)["health"]["condition"], "failed");
}

#[test]
fn settings_of_today_hold_for_restored_code() {
    let (mut site, file) = site();
    let (stopped, _) = site.start().stop();
    assert!(stopped.success());
    std::fs::remove_file(file).expect("removed");
    site.set(
        "policy.settings",
        toml::Table::from_iter([("stamp".to_owned(), "new".into())]),
    );
    let daemon = site.start();
    daemon.events().take(5005);
    let setup = site.cli(&["policy", "history", "--json"]).ok();
    let history: Value = serde_json::from_str(&setup).expect("JSON");
    assert_eq!(history[0]["activations"][0]["settings"]["stamp"], "new", "{history:#}");
    assert_eq!(mail_from(&daemon), 250);
}
