//! Policies swapped in a running daemon, including faulty and hostile components.

use std::path::Path;

use posthouse_tests::{Client, Daemon, Event, PASSWORD, Site, example, guest};

/// Runs a transaction of a homed user and returns the code of the last reply.
fn transaction(daemon: &Daemon, subject: &str) -> u16 {
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    let code = transaction_in(&mut client, subject);
    client.quit();
    code
}

/// Runs a transaction up to the first negative reply and returns the code of the last reply.
fn transaction_in(client: &mut Client, subject: &str) -> u16 {
    for line in [
        "MAIL FROM:<anna@posthouse.test>",
        "RCPT TO:<bert@posthouse.test>",
        "DATA",
    ] {
        client.send(format!("{line}\r\n").as_bytes());
        let reply = client.reply().expect("a reply");
        if reply.code >= 400 {
            client.command("RSET", 250);
            return reply.code;
        }
    }
    let message = format!("From: <anna@posthouse.test>\r\nSubject: {subject}\r\n\r\nHello.\r\n.\r\n");
    client.send(message.as_bytes());
    client.reply().expect("a reply").code
}

fn load(site: &Site, file: &Path, settings: &str) -> String {
    site.cli(&["policy", "load", &file.to_string_lossy(), "--settings", settings])
        .ok()
}

fn class(event: &Event) -> String {
    event.fields["fault"]["class"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn each_misbehaviour_defers_a_message_with_a_single_event() {
    let site = Site::new();
    let mut daemon = site.start();
    let pid = daemon.pid();
    let mut bystander = daemon.connect();
    bystander.login("anna", PASSWORD);
    for (mode, stage, expected) in [
        ("loop", "sender", "cpu-timeout"),
        ("eat-memory", "recipient", "memory"),
        ("recurse", "message", "stack"),
        ("panic", "sender", "panic"),
        ("lie-reply", "sender", "invalid-answer"),
        ("lie-reply", "message", "invalid-answer"),
        ("forge-address", "message", "invalid-answer"),
    ] {
        load(
            &site,
            &example("misbehaving"),
            &format!(r#"{{"mode": "{mode}", "stage": "{stage}"}}"#),
        );
        assert_eq!(transaction(&daemon, mode), 451, "{mode}");
        let fault = daemon.events().take(4037);
        assert_eq!(class(&fault), expected, "{mode}: {fault:?}");
        assert_eq!(fault.fields["fault"]["stage"], stage, "{fault:?}");
    }
    // Work in progress finishes with the old generation; new work begins with the new generation.
    load(&site, &example("misbehaving"), "{}");
    assert_eq!(transaction_in(&mut bystander, "the bystander's"), 250);
    site.mailbox("bert").expect("the bystander's");
    assert!(daemon.is_running());
    assert_eq!(daemon.pid(), pid);
}

#[test]
fn fault_at_admit_grants_no_exemption() {
    let site = Site::new();
    let daemon = site.start();
    load(&site, &example("misbehaving"), r#"{"mode": "panic", "stage": "admit"}"#);
    let mut client = daemon.connect_from("127.0.0.3");
    let fault = daemon.events().take(4037);
    assert_eq!(fault.fields["fault"]["stage"], "admit");
    client.ehlo();
    client.quit();
}

#[test]
fn operator_replaces_a_faulty_policy() {
    let site = Site::new();
    let daemon = site.start();
    load(
        &site,
        &example("misbehaving"),
        r#"{"mode": "panic", "stage": "sender"}"#,
    );
    assert_eq!(transaction(&daemon, "deferred"), 451);
    // The configuration still names the default policy.
    daemon.reload();
    daemon.events().take(5011);
    let status = site.cli(&["policy", "status"]).ok();
    assert!(
        status.contains("misbehaving"),
        "a reload does not undo what an operator loaded:\n{status}"
    );
    load_default(&site);
    assert_eq!(transaction(&daemon, "as before"), 250);
    site.mailbox("bert").expect("as before");
}

/// Loads the policy and the settings of the configuration.
fn load_default(site: &Site) {
    let file = example("posthouse-default-policy");
    let settings = r#"{"accept": {"from": "authenticated"}, "homing": {"required": true}}"#;
    load(site, &file, settings);
}

#[test]
fn restart_restores_the_policy_loaded_last() {
    let site = Site::new();
    let daemon = site.start();
    load(
        &site,
        &example("misbehaving"),
        r#"{"mode": "panic", "stage": "sender"}"#,
    );
    let (status, _) = daemon.stop();
    assert!(status.success());
    let daemon = site.start();
    assert_eq!(transaction(&daemon, "still misbehaving"), 451);
    assert_eq!(class(&daemon.events().take(4037)), "panic");
}

#[test]
fn restart_falls_back_to_the_last_good_generation() {
    let mut site = Site::new();
    let (status, _) = site.start().stop();
    assert!(status.success());
    site.file("broken.wasm", b"\0asm\x0d\0\x01\0 and then nothing of use");
    site.add("").set("policy.file", "broken.wasm");
    let daemon = site.start();
    daemon.events().take(5005);
    assert_eq!(transaction(&daemon, "with the last good one"), 250);
}

#[test]
fn refuses_hostile_components_and_keeps_the_active_policy() {
    let site = Site::new();
    let mut daemon = site.start();
    let folder = site.path();
    let good = std::fs::read(example("first-policy")).expect("the example is built");
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x40;
    let files = [
        (guest("core-module", folder), "core module"),
        (guest("no-exports", folder), "lifecycle"),
        (guest("imports-http", folder), "wasi:http"),
        (guest("other-contract", folder), "9.0.0"),
        (
            site.file("truncated.wasm", &good[..good.len() / 2]),
            "truncated or damaged",
        ),
        (site.file("empty.wasm", b""), "empty"),
        (site.file("text.wasm", b"This is not WebAssembly.\n"), "not WebAssembly"),
        (
            site.file("native.wasm", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"),
            "precompiled",
        ),
    ];
    for (file, reason) in &files {
        let said = site.cli(&["policy", "load", &file.to_string_lossy()]).failed();
        assert!(
            said.contains(reason),
            "{}: wanted {reason:?} in:\n{said}",
            file.display()
        );
        assert!(!said.contains("panicked"), "{said}");
        // A core module is refused by the command, which converts core modules to components, before the daemon is
        // asked.
        if *reason != "core module" {
            let event = daemon.events().take(5004);
            assert!(event.text("problems").contains(reason), "{event:?}");
        }
    }
    // A flipped bit may hit unchecked data and leave a loadable component, but must not harm the daemon.
    let file = site.file("flipped.wasm", &flipped);
    let said = site.cli(&["policy", "load", &file.to_string_lossy()]);
    assert!(!said.text().contains("panicked"), "{said:?}");
    if said.status.success() {
        load_default(&site);
    }
    assert_eq!(transaction(&daemon, "after all that"), 250);
    assert!(daemon.is_running());
}

#[test]
fn refuses_a_component_that_misbehaves_during_load() {
    let site = Site::new();
    let daemon = site.start();
    for (name, stage, class) in [
        ("endless-configure", "configure", "cpu-timeout"),
        ("endless-describe", "describe", "cpu-timeout"),
        ("greedy-configure", "configure", "memory"),
        ("dishonest-describe", "describe", "abi"),
    ] {
        let file = guest(name, site.path());
        let said = site.cli(&["policy", "load", &file.to_string_lossy()]).failed();
        assert!(said.contains(stage) && said.contains(class), "{name}: {said}");
        daemon.events().take(5004);
    }
    assert_eq!(transaction(&daemon, "the active policy stays"), 250);
}

#[test]
fn runs_a_hand_written_policy() {
    let site = Site::new();
    let daemon = site.start();
    let file = guest("panicking-admit", site.path());
    site.cli(&["policy", "load", &file.to_string_lossy()]).ok();
    let mut client = daemon.connect();
    let fault = daemon.events().take(4037);
    assert_eq!(fault.fields["fault"]["stage"], "admit", "{fault:?}");
    client.ehlo();
}

#[test]
fn reports_all_problems_of_settings_at_once() {
    let site = Site::new();
    let daemon = site.start();
    let file = example("posthouse-default-policy");
    let settings = site.file(
        "settings.json",
        r#"{"homing": {"requird": true}, "accept": {"hosts": [{"network": "10.0.0.0/99"}]}}"#,
    );
    let said = site
        .cli(&[
            "policy",
            "load",
            &file.to_string_lossy(),
            "--settings",
            &format!("@{}", settings.display()),
        ])
        .failed();
    assert!(
        said.contains("homing.requird") && said.contains("accept.hosts[0].network"),
        "{said}"
    );
    assert_eq!(transaction(&daemon, "unchanged"), 250);
}

#[test]
fn freezes_a_message_after_repeated_faults_across_restarts() {
    let mut site = Site::new();
    site.set("faults.ndr", "freeze");
    let daemon = site.start();
    load(&site, &example("q178091"), "{}");
    let mut client = daemon.connect_from("127.0.0.2");
    client.ehlo();
    let reply = client.submit(
        "stranger@example.org",
        &["anna@posthouse.test"],
        "Subject: poison\n\nx\n",
    );
    assert_eq!(reply.code, 250);
    let frozen = daemon.events().take(4117);
    let (status, _) = daemon.stop();
    assert!(status.success());
    let daemon = site.start();
    let listed = site.cli(&["queue", "list"]).ok();
    assert!(
        listed.contains(&frozen.text("message")) && listed.contains("frozen"),
        "{listed}"
    );
    assert_eq!(transaction(&daemon, "others go on"), 250);
    assert!(site.mailbox("admin").messages().is_empty(), "frozen, not reported");
}
