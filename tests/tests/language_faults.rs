//! A policy in JavaScript, Python and C that is wrong in every way. A language whose tools cannot be had says SKIPPED,
//! loudly; `.ci/run` installs them.

use std::path::{Path, PathBuf};

use posthouse_tests::{Client, Daemon, Language, Site, Toolchain, overlay};

/// What a recipient's local part, or the end of an address, makes the policy do, the class of the fault that follows, and
/// what the event's text has of the language's own words.
type Mischief = (&'static str, &'static str, &'static str);

#[test]
fn every_misbehaviour_in_javascript_is_one_event() {
    every_misbehaviour_is_one_event(
        Language::JavaScript,
        &[
            ("throw", "panic", "client.identity is undefined"),
            ("loop", "cpu-timeout", ""),
            ("recurse", "panic", "too much recursion"),
            ("allocate", "memory", ""),
            ("nonsense", "lie", ""),
            ("forge", "lie", ""),
            ("mistype", "panic", ""),
        ],
    );
}

#[test]
fn every_misbehaviour_in_python_is_one_event() {
    every_misbehaviour_is_one_event(
        Language::Python,
        &[
            (
                "throw",
                "panic",
                "AttributeError: 'NoneType' object has no attribute 'account'",
            ),
            ("loop", "cpu-timeout", ""),
            ("recurse", "panic", "RecursionError"),
            ("allocate", "memory", ""),
            ("nonsense", "lie", ""),
            ("forge", "lie", ""),
            ("overflow", "panic", "OverflowError"),
            ("mistype", "panic", "'str' object has no attribute"),
        ],
    );
}

#[test]
fn every_misbehaviour_in_c_is_one_event() {
    every_misbehaviour_is_one_event(
        Language::C,
        &[
            ("throw", "panic", "the identity was taken for granted"),
            ("loop", "cpu-timeout", ""),
            ("recurse", "trap", ""),
            ("allocate", "memory", "no memory left"),
            ("nonsense", "lie", ""),
            ("forge", "lie", ""),
            ("mistype", "abi", ""),
        ],
    );
}

/// Time of a question: an interpreter fills its memory beside other tests.
const PATIENCE: &str = "3s";

/// A site where a policy may go on faulting without being rolled back for that, and where two interpreters may be
/// compiled at once, beside whatever else is tested.
fn patient_site() -> Site {
    let mut site = Site::new();
    site.set("policy-engine.probation.faults", 0)
        .set("policy-engine.compile-time", "10m")
        .set("policy.limits.cpu", PATIENCE);
    site
}

/// QuickJS serves the roles that are lent nothing: here it is asked at the door.
#[test]
fn every_misbehaviour_in_quickjs_is_one_event() {
    let mischief: [Mischief; 7] = [
        ("11", "panic", "throws (/exemption.js:12:"),
        ("12", "cpu-timeout", ""),
        ("13", "stack", ""),
        ("14", "memory", ""),
        ("15", "lie", ""),
        ("16", "lie", ""),
        ("17", "panic", ""),
    ];
    let Some(tools) = Toolchain::find(Language::JavaScript) else {
        return;
    };
    let component = misbehaving(
        &tools.new_project("misbehaving-quickjs", "exemption"),
        "quickjs",
        &tools,
    );
    let mut site = patient_site();
    site.ask_first(&format!("name = 'mischief'\nfile = '{}'", component.display()))
        .set("policy.limits.cpu", PATIENCE);
    let mut daemon = site.start();
    for (mode, class, words) in mischief {
        // Who could not be asked about is exempt from nothing.
        let mut client = daemon.connect_from(&format!("127.0.0.{mode}"));
        client.ehlo();
        client.command("MAIL FROM:<x@example.org>", 530);
        expect_fault(&daemon, "admit", mode, class, words);
    }
    assert_eq!(daemon.events().all(4037).len(), mischief.len(), "one event each");
    drop(daemon.connect_from("127.0.0.18"));
    assert_eq!(daemon.events().all(4037).len(), mischief.len(), "none after all that");
    assert!(daemon.is_running());
}

fn every_misbehaviour_is_one_event(language: Language, mischief: &[Mischief]) {
    let Some(tools) = Toolchain::find(language) else { return };
    let site = patient_site();
    let mut daemon = site.start();
    load_misbehaving("misbehaving", language, &tools, &site);
    for (mode, class, words) in mischief {
        assert_eq!(recipient(&daemon, mode), 451, "{mode}");
        expect_fault(&daemon, "recipient", mode, class, words);
    }
    assert_eq!(daemon.events().all(4037).len(), mischief.len(), "one event each");
    let mut client = greeted(&daemon);
    let reply = client.submit(
        "x@example.org",
        &["bert@posthouse.test"],
        "Subject: after all that\n\nx\n",
    );
    assert_eq!(reply.code, 250, "{}", client.transcript());
    site.mailbox("bert").expect("after all that");
    assert!(daemon.is_running());
}

fn expect_fault(daemon: &Daemon, stage: &str, mode: &str, class: &str, words: &str) {
    let fault = daemon.events().take(4037).fields["fault"].clone();
    assert_eq!(fault["class"], class, "{mode}: {fault:#}");
    assert_eq!(fault["stage"], stage, "{mode}: {fault:#}");
    let said = fault["stderr"].as_str().unwrap_or_default();
    assert!(said.contains(words), "{mode}: {fault:#}");
}

/// The page on C says so: an absent identity is zeros, and no fault.
#[test]
fn in_c_what_is_absent_reads_as_zeros() {
    let Some(tools) = Toolchain::find(Language::C) else {
        return;
    };
    let site = Site::new();
    let daemon = site.start();
    load_misbehaving("assuming", Language::C, &tools, &site);
    assert_eq!(recipient(&daemon, "assume"), 250, "an answer, and no fault");
    assert!(daemon.events().all(4037).is_empty());
}

fn load_misbehaving(name: &str, language: Language, tools: &Toolchain, site: &Site) {
    let component = misbehaving(&tools.new_project(name, "homing"), language.name(), tools);
    site.cli(&["policy", "load", &component.to_string_lossy(), "--settings", "{}"])
        .ok();
}

/// A new project with a folder of `guests/languages` put over it, built.
fn misbehaving(project: &Path, guest: &str, tools: &Toolchain) -> PathBuf {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/languages");
    overlay(&guests.join(guest), project);
    tools.build(project)
}

/// The reply to a recipient, in a transaction of somebody without an identity.
fn recipient(daemon: &Daemon, local_part: &str) -> u16 {
    let mut client = greeted(daemon);
    client.command("MAIL FROM:<x@example.org>", 250);
    client.send(format!("RCPT TO:<{local_part}@posthouse.test>\r\n").as_bytes());
    client.reply().expect("a reply").code
}

fn greeted(daemon: &Daemon) -> Client {
    let mut client = daemon.connect();
    client.ehlo();
    client
}
