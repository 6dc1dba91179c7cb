//! Compilation of policies in a separate process, whose failures do not affect the daemon.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use posthouse_tests::{Daemon, Output, PASSWORD, Site, eventually, example, foreign_copy, guest, large_guest};
use rustix::process::{Pid, Signal, kill_process};

/// Number of functions that keeps the compiler busy for seconds, even on a fast machine.
const MANY_FUNCTIONS: usize = 6000;
/// Number of functions that the compiler needs less than a second for, and that keep it busy for long enough to stop it.
const FEW_FUNCTIONS: usize = 600;

/// Creates the sample site with an additional module `extra` after the site's own policy, which decides everything.
fn site() -> Site {
    let mut site = Site::with_own_cache();
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

/// Finds the compiler process of a daemon.
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

/// Reads a field of `/proc/ID/stat`; fields are numbered from 1, as in proc(5).
fn stat(id: i32, field: usize) -> Option<i64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let after_name = text.rsplit_once(')')?.1;
    after_name
        .split_ascii_whitespace()
        .nth(field.checked_sub(3)?)?
        .parse()
        .ok()
}

fn wait_for_exit(id: Pid) {
    eventually("the compiler's end", || {
        let words = std::fs::read(format!("/proc/{}/cmdline", id.as_raw_nonzero()));
        // A zombie has no command line.
        words.map_or(true, |words| words.is_empty()).then_some(())
    });
}

fn compilations_in_the_daemon(daemon: &Daemon) -> usize {
    daemon.events().all(5037).len()
}

#[test]
fn mail_flows_while_a_large_policy_is_compiled_at_low_priority() {
    let site = site();
    let daemon = site.start();
    let file = large_guest(MANY_FUNCTIONS, site.path());
    thread::scope(|scope| {
        let loading = scope.spawn(|| load(&site, &file));
        let compiler = eventually("the compiler", || compiler_of(daemon.pid()));
        // The compiler lowers the priority before anything else.
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
    assert_eq!(
        compilations_in_the_daemon(&daemon),
        0,
        "the daemon found the result in the cache"
    );
    assert_eq!(submit(&daemon), 250);

    // The cache of compiled code survives a restart.
    let (status, _) = daemon.stop();
    assert!(status.success());
    let daemon = site.start();
    assert_eq!(compilations_in_the_daemon(&daemon), 0);
    assert!(site.cli(&["policy", "status"]).ok().contains("large.wasm"));
}

#[test]
fn compiler_ends_with_the_daemon() {
    let site = site();
    for stop in [Signal::TERM, Signal::KILL] {
        let mut daemon = site.start();
        let file = large_guest(MANY_FUNCTIONS, site.path());
        thread::scope(|scope| {
            let loading = scope.spawn(|| load(&site, &file));
            let compiler = eventually("the compiler", || compiler_of(daemon.pid()));
            daemon.signal(stop);
            daemon.wait();
            wait_for_exit(compiler);
            loading.join().expect("no panic").failed();
        });
        // Unfinished files of the killed compiler do no harm.
        let daemon = site.start();
        load(&site, &foreign_copy(&example("first-policy"), site.path())).ok();
        assert_eq!(compilations_in_the_daemon(&daemon), 0);
        daemon.stop();
    }
}

#[test]
fn stop_does_not_wait_for_a_reload_that_compiles() {
    for by_signal in [true, false] {
        let mut site = site();
        let mut daemon = site.start();
        let file = large_guest(FEW_FUNCTIONS, site.path());
        site.set("policy.file", file.display().to_string());
        daemon.signal(Signal::HUP);
        let compiler = eventually("the compiler", || compiler_of(daemon.pid()));
        // A stopped compiler never ends: neither does the reload.
        kill_process(compiler, Signal::STOP).expect("it runs");
        if by_signal {
            daemon.signal(Signal::TERM);
        } else {
            site.cli(&["stop"]).ok();
        }
        assert!(daemon.wait().success());
        wait_for_exit(compiler);
    }
}

#[test]
fn crash_of_the_compiler_refuses_the_policy() {
    let site = site();
    let mut daemon = site.start();
    let file = large_guest(MANY_FUNCTIONS, site.path());
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
fn bounds_time_and_memory_of_the_compiler() {
    let mut site = site();
    site.set("policy-engine.compile-time", "1s");
    let daemon = site.start();
    let large = large_guest(MANY_FUNCTIONS, site.path());
    let said = load(&site, &large).failed();
    assert!(
        said.contains("more than 1 s of processor time to compile: the limit policy-engine.compile-time"),
        "{said}"
    );
    // Another compiler may run: the daemon pre-initialises what is in force.
    assert!(daemon.events().take(5004).text("problems").contains("compile-time"));
    daemon.stop();

    site.set("policy-engine.compile-time", "5m");
    site.set("policy-engine.compile-memory", "64MiB");
    let daemon = site.start();
    let said = load(&site, &large).failed();
    assert!(said.contains("memory"), "{said}");
    load(&site, &guest("panicking-admit", site.path())).ok();
    assert_eq!(submit(&daemon), 250);
}

/// Asks the daemon's control socket for the time since the compiler was started, in milliseconds.
fn compiling_for(site: &Site) -> Option<u64> {
    let mut socket = UnixStream::connect(site.path().join("data/control.sock")).expect("the daemon runs");
    let request = b"GET /policies/compiling HTTP/1.1\r\nHost: posthouse\r\nConnection: close\r\n\r\n";
    socket.write_all(request).expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    let (_, rest) = answer.split_once("\"elapsed-ms\":")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[test]
fn compiler_that_waits_for_the_processor_is_not_refused() {
    let mut site = site();
    site.set("policy-engine.compile-time", "4s");
    let daemon = site.start();
    let file = large_guest(FEW_FUNCTIONS, site.path());
    let said = thread::scope(|scope| {
        let loading = scope.spawn(|| load(&site, &file));
        let compiler = eventually("the compiler", || compiler_of(daemon.pid()));
        // A stopped process waits as on a host whose processors are all taken.
        kill_process(compiler, Signal::STOP).expect("it runs");
        eventually("more time than the limit", || {
            (compiling_for(&site)? > 4500).then_some(())
        });
        kill_process(compiler, Signal::CONT).expect("it runs");
        loading.join().expect("no panic")
    });
    assert!(said.stderr.contains("s of processor time, of at most 4 s"), "{said:?}");
    said.ok();
}

#[test]
fn unusable_cache_is_reported_and_the_policy_is_compiled_in_the_daemon() {
    let site = site();
    let daemon = site.start();
    let kept = site.path().join("data/policies/cache/modules");
    std::fs::remove_dir_all(&kept).expect("the built-in policy was compiled into it");
    std::fs::write(&kept, "in the way").expect("writes");
    let file = foreign_copy(&example("first-policy"), site.path());
    load(&site, &file).ok();
    assert!(daemon.events().take(5037).text("reason").contains("cache"));
    assert_eq!(submit(&daemon), 250);
}
