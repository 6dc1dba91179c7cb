//! Core dumps of policies that trap.

use std::path::Path;

use posthouse_tests::{Daemon, PASSWORD, Site, example};

fn mail_is_deferred(daemon: &Daemon) {
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    client.command("MAIL FROM:<anna@posthouse.test>", 451);
}

/// Provokes a fault and reads the core dump that the event names.
fn provoke_dump(daemon: &Daemon) -> Option<Vec<u8>> {
    mail_is_deferred(daemon);
    let fault = daemon.events().take(4037).fields["fault"].clone();
    let path = fault["core-dump"].as_str()?;
    Some(std::fs::read(path).expect("the file is there"))
}

fn is_dump(bytes: &[u8]) -> bool {
    let has = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
    bytes.starts_with(b"\0asm") && has(b"corestack") && has(b"coremodules") && has(b"told to panic")
}

#[test]
fn writes_a_core_dump_only_if_configured() {
    let mut site = Site::new();
    // Without probation the faulting policy is not rolled back.
    site.set("policy-engine.probation.faults", 0);
    let file = example("misbehaving");
    let settings = r#"{"mode": "panic", "stage": "sender"}"#;
    let daemon = site.start();
    site.cli(&["policy", "load", &file.to_string_lossy(), "--settings", settings])
        .ok();
    assert!(provoke_dump(&daemon).is_none());

    let cores = site.path().join("cores");
    let said = site.cli(&["policy", "load", "--core-dumps", "cores"]).failed();
    assert!(said.contains("core-dumps"), "{said}");
    std::fs::create_dir(&cores).expect("a folder");
    // The path is relative to the site's folder, where the command runs; code, settings and generation are unchanged.
    site.cli(&["policy", "load", "--core-dumps", "cores"]).ok();
    assert!(is_dump(&provoke_dump(&daemon).expect("a dump")));
    // The number of dumps is limited to ten.
    for _ in 0..12 {
        mail_is_deferred(&daemon);
    }
    assert_eq!(count_files(&cores), 10);

    daemon.reload();
    daemon.events().take(5011);
    std::fs::remove_dir_all(&cores).expect("removed");
    std::fs::create_dir(&cores).expect("a folder");
    mail_is_deferred(&daemon);
    assert_eq!(count_files(&cores), 0, "a reload goes back to the configuration");
    daemon.stop();

    site.set("policy.core-dumps", "cores");
    let daemon = site.start();
    assert!(is_dump(&provoke_dump(&daemon).expect("a dump")));
}

fn count_files(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("a folder").count()
}
