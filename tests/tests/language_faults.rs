//! Faults of policies in JavaScript, Python and C. The test of a language whose tools are unavailable prints SKIPPED;
//! `.ci/run` installs the tools.

use std::path::{Path, PathBuf};

use posthouse_tests::{Client, Daemon, Language, Site, Toolchain, overlay};

/// A misbehaviour, selected by a recipient's local part or the last part of a client's address; the class of the
/// resulting fault; and a text of the language's runtime that the event contains.
type Misbehaviour = (&'static str, &'static str, &'static str);

#[test]
fn each_misbehaviour_in_javascript_is_a_single_event() {
    each_misbehaviour_is_a_single_event(
        Language::JavaScript,
        &[
            ("throw", "panic", "client.identity is undefined"),
            ("loop", "cpu-timeout", ""),
            ("recurse", "panic", "too much recursion"),
            ("allocate", "memory", ""),
            ("nonsense", "invalid-answer", ""),
            ("forge", "invalid-answer", ""),
            ("mistype", "panic", ""),
        ],
    );
}

#[test]
fn each_misbehaviour_in_python_is_a_single_event() {
    each_misbehaviour_is_a_single_event(
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
            ("nonsense", "invalid-answer", ""),
            ("forge", "invalid-answer", ""),
            ("overflow", "panic", "OverflowError"),
            ("mistype", "panic", "'str' object has no attribute"),
        ],
    );
}

#[test]
fn each_misbehaviour_in_c_is_a_single_event() {
    each_misbehaviour_is_a_single_event(
        Language::C,
        &[
            ("throw", "panic", "the identity was taken for granted"),
            ("loop", "cpu-timeout", ""),
            ("recurse", "trap", ""),
            ("allocate", "memory", "no memory left"),
            ("nonsense", "invalid-answer", ""),
            ("forge", "invalid-answer", ""),
            ("mistype", "abi", ""),
        ],
    );
}

/// Limit on the CPU time of a question. Generous, because filling the memory of an interpreter is slow beside other
/// tests.
const CPU_LIMIT: &str = "3s";

/// Creates a site without probation, so that a faulting policy is not rolled back.
fn site_without_probation() -> Site {
    let mut site = Site::new();
    site.set("policy-engine.probation.faults", 0)
        .set("policy.limits.cpu", CPU_LIMIT);
    site
}

/// Tests the JavaScript runtime QuickJS, which serves the roles without borrowed resources, at the stage `admit`.
#[test]
fn each_misbehaviour_in_quickjs_is_a_single_event() {
    let mischief: [Misbehaviour; 7] = [
        ("11", "panic", "throws (/exemption.js:12:"),
        ("12", "cpu-timeout", ""),
        ("13", "stack", ""),
        ("14", "memory", ""),
        ("15", "invalid-answer", ""),
        ("16", "invalid-answer", ""),
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
    let mut site = site_without_probation();
    site.prepend_policy(&format!("name = 'mischief'\nfile = '{}'", component.display()))
        .set("policy.limits.cpu", CPU_LIMIT);
    let mut daemon = site.start();
    for (mode, class, words) in mischief {
        // After a fault the client is exempt from nothing.
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

fn each_misbehaviour_is_a_single_event(language: Language, mischief: &[Misbehaviour]) {
    let Some(tools) = Toolchain::find(language) else { return };
    let site = site_without_probation();
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

/// Confirms a statement of the page on C: an absent identity reads as zeros and causes no fault.
#[test]
fn absent_identity_reads_as_zeros_in_c() {
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

/// Builds a new project whose sources are replaced by a folder of `guests/languages`.
fn misbehaving(project: &Path, guest: &str, tools: &Toolchain) -> PathBuf {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/languages");
    overlay(&guests.join(guest), project);
    tools.build(project)
}

/// Sends a recipient in a transaction without authentication and returns the reply code.
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
