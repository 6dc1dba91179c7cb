//! Compiling policies: in a process of its own, which may fail in any way it likes.

use std::path::Path;
use std::thread;

use posthouse_tests::{Daemon, Output, PASSWORD, Site, eventually, example, from_outside, guest, large_guest};
use rustix::process::{Pid, Signal, kill_process};

/// Busy for seconds, even on a fast machine.
const MANY: usize = 6000;

/// The sample site, whose own policy decides everything before a module `extra` is asked. The compiler
/// has time: it waits for everybody else on the machine.
fn site() -> Site {
    let mut site = Site::new();
    site.set("policy-engine.compile-time", "5m");
    site.add("[[policy]]\nname = \"extra\"\n");
    site
}

fn load(site: &Site, file: &Path) -> Output {
    site.cli(&["policy", "load", &file.to_string_lossy(), "--as", "extra"])
}

fn submit(daemon: &Daemon) -> u16 {
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    let message = "From: <anna@posthouse.test>\nSubject: meanwhile\n\nHello.\n";
    let reply = client.submit("anna@posthouse.test", &["bert@posthouse.test"], message);
    reply.code
}

/// The process that compiles for the daemon, if there is one.
fn compiler_of(daemon: u32) -> Option<Pid> {
    let processes = std::fs::read_dir("/proc").expect("Linux");
    let mut ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    ids.find(|id| {
        let words = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let compiles = words.split(|byte| *byte == 0).any(|word| word == b"compile-policy");
        compiles && stat(*id, 4).is_some_and(|parent| parent == i64::from(daemon))
    })
    .and_then(Pid::from_raw)
}

/// A field of `/proc/ID/stat` (proc(5)), which counts from 1.
fn stat(id: i32, field: usize) -> Option<i64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let after_name = text.rsplit_once(')')?.1;
    after_name
        .split_ascii_whitespace()
        .nth(field.checked_sub(3)?)?
        .parse()
        .ok()
}

fn gone(id: Pid) {
    eventually("the compiler's end", || {
        let words = std::fs::read(format!("/proc/{}/cmdline", id.as_raw_nonzero()));
        // A zombie has no command line.
        words.map_or(true, |words| words.is_empty()).then_some(())
    });
}

fn compiled_here(daemon: &Daemon) -> usize {
    daemon.events().all(5037).len()
}

#[test]
fn mail_flows_while_a_large_policy_is_compiled_at_low_priority() {
    let site = site();
    let daemon = site.start();
    let file = large_guest(MANY, site.path());
    thread::scope(|scope| {
        let loading = scope.spawn(|| load(&site, &file));
        let compiler = eventually("the compiler", || compiler_of(daemon.pid()));
        // The first thing it does.
        eventually("its low priority", || {
            (stat(compiler.as_raw_nonzero().get(), 19) == Some(19)).then_some(())
        });
        let mut meanwhile = 0;
        while compiler_of(daemon.pid()).is_some() {
            assert_eq!(submit(&daemon), 250);
            meanwhile += 1;
        }
        assert!(meanwhile > 1, "{meanwhile}");
        loading.join().expect("no panic").ok();
    });
    assert_eq!(compiled_here(&daemon), 0, "the daemon found the result in the cache");
    assert_eq!(submit(&daemon), 250);

    // What was compiled once is found after a restart.
    let (status, _) = daemon.stop();
    assert!(status.success());
    let daemon = site.start();
    assert_eq!(compiled_here(&daemon), 0);
    assert!(site.cli(&["policy", "status"]).ok().contains("large.wasm"));
}

#[test]
fn the_compiler_ends_with_the_daemon() {
    let site = site();
    for stop in [Signal::TERM, Signal::KILL] {
        let mut daemon = site.start();
        let file = large_guest(MANY, site.path());
        thread::scope(|scope| {
            let loading = scope.spawn(|| load(&site, &file));
            let compiler = eventually("the compiler", || compiler_of(daemon.pid()));
            daemon.signal(stop);
            daemon.wait();
            gone(compiler);
            loading.join().expect("no panic").failed();
        });
        // What a compiler left half done is in nobody's way.
        let daemon = site.start();
        load(&site, &from_outside(&example("first-policy"), site.path())).ok();
        assert_eq!(compiled_here(&daemon), 0);
        daemon.stop();
    }
}

#[test]
fn a_compiler_that_crashes_is_a_refused_policy() {
    let site = site();
    let mut daemon = site.start();
    let file = large_guest(MANY, site.path());
    let said = thread::scope(|scope| {
        let loading = scope.spawn(|| load(&site, &file));
        let compiler = eventually("the compiler", || compiler_of(daemon.pid()));
        kill_process(compiler, Signal::KILL).expect("it runs");
        loading.join().expect("no panic").failed()
    });
    assert!(said.contains("crashed") && said.contains("signal 9"), "{said}");
    assert!(daemon.events().take(5004).text("problems").contains("signal 9"));
    assert_eq!(submit(&daemon), 250);
    assert!(daemon.is_running());
}

#[test]
fn time_and_memory_of_the_compiler_are_bounded() {
    let mut site = site();
    site.set("policy-engine.compile-time", "1s");
    let daemon = site.start();
    let large = large_guest(MANY, site.path());
    let said = load(&site, &large).failed();
    assert!(said.contains("compile-time"), "{said}");
    assert!(compiler_of(daemon.pid()).is_none());
    daemon.stop();

    site.set("policy-engine.compile-time", "5m");
    site.set("policy-engine.compile-memory", "64MiB");
    let daemon = site.start();
    let said = load(&site, &large).failed();
    assert!(said.contains("memory"), "{said}");
    load(&site, &guest("panicking-admit", site.path())).ok();
    assert_eq!(submit(&daemon), 250);
}

#[test]
fn a_cache_that_keeps_nothing_costs_time_and_is_told() {
    let site = site();
    let daemon = site.start();
    let kept = site.path().join("data/policies/cache/modules");
    std::fs::remove_dir_all(&kept).expect("the built-in policy was compiled into it");
    std::fs::write(&kept, "in the way").expect("writes");
    let file = from_outside(&example("first-policy"), site.path());
    load(&site, &file).ok();
    assert!(daemon.events().take(5037).text("reason").contains("cache"));
    assert_eq!(submit(&daemon), 250);
}
