//! Core dumps of policies that trap.

use std::path::Path;

use posthouse_tests::{Daemon, PASSWORD, Site, example};

fn deferred(daemon: &Daemon) {
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    client.command("MAIL FROM:<anna@posthouse.test>", 451);
}

/// The dump that the next fault names.
fn dump(daemon: &Daemon) -> Option<Vec<u8>> {
    deferred(daemon);
    let fault = daemon.events().take(4037).fields["fault"].clone();
    let path = fault["core-dump"].as_str()?;
    Some(std::fs::read(path).expect("the file is there"))
}

fn is_dump(bytes: &[u8]) -> bool {
    let has = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
    bytes.starts_with(b"\0asm") && has(b"corestack") && has(b"coremodules") && has(b"told to panic")
}

#[test]
fn a_trap_leaves_a_core_dump_where_that_is_wanted() {
    let mut site = Site::new();
    // It goes on faulting, and is not to be rolled back for that.
    site.set("policy-engine.probation.faults", 0);
    let file = example("misbehaving");
    let settings = r#"{"mode": "panic", "stage": "sender"}"#;
    let daemon = site.start();
    site.cli(&["policy", "load", &file.to_string_lossy(), "--settings", settings])
        .ok();
    assert!(dump(&daemon).is_none());

    let cores = site.path().join("cores");
    let said = site.cli(&["policy", "load", "--core-dumps", "cores"]).failed();
    assert!(said.contains("core-dumps"), "{said}");
    std::fs::create_dir(&cores).expect("a folder");
    // The command runs in the site's folder; the code, the settings and the generation stay.
    site.cli(&["policy", "load", "--core-dumps", "cores"]).ok();
    assert!(is_dump(&dump(&daemon).expect("a dump")));
    // Whatever happens, no more than ten.
    for _ in 0..12 {
        deferred(&daemon);
    }
    assert_eq!(count(&cores), 10);

    daemon.reload();
    daemon.events().take(5011);
    std::fs::remove_dir_all(&cores).expect("removed");
    std::fs::create_dir(&cores).expect("a folder");
    deferred(&daemon);
    assert_eq!(count(&cores), 0, "a reload goes back to the configuration");
    daemon.stop();

    site.set("policy.core-dumps", "cores");
    let daemon = site.start();
    assert!(is_dump(&dump(&daemon).expect("a dump")));
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("a folder").count()
}
