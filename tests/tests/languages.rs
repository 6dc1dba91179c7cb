//! Policies in JavaScript, Python and C: what `policy new` makes, the worked examples, and one in each
//! language that is wrong in every way. A language whose tools cannot be had says SKIPPED, loudly;
//! `.ci/run` installs them.

use std::path::Path;
use std::process::Command;

use posthouse_tests::{Client, Daemon, Language, Site, Toolchain, overlay, posthouse, run};

const ROLES: [&str; 4] = ["exemption", "homing", "ndr", "all"];

#[test]
fn new_policies_in_javascript_pass_their_cases() {
    new_policies_pass_their_cases(Language::JavaScript);
}

#[test]
fn new_policies_in_python_pass_their_cases() {
    new_policies_pass_their_cases(Language::Python);
}

#[test]
fn new_policies_in_c_pass_their_cases() {
    new_policies_pass_their_cases(Language::C);
}

fn new_policies_pass_their_cases(language: Language) {
    let Some(tools) = Toolchain::find(language) else { return };
    for role in ROLES {
        let project = tools.new_project(&format!("new-{role}"), role);
        cases_pass(&tools.build(&project), &project);
    }
}

#[test]
fn worked_examples_pass_their_cases() {
    for (language, example) in [
        (Language::JavaScript, "javascript-subject-tags"),
        (Language::Python, "python-quiet-notices"),
        (Language::C, "c-blocklist"),
    ] {
        let Some(tools) = Toolchain::find(language) else {
            continue;
        };
        let project = tools.copy(&format!("policy-wasm/languages/{example}"));
        cases_pass(&tools.build(&project), &project);
    }
}

/// What an author does with a component works whatever it was written in: each command on each worked example
/// and on each new policy.
#[test]
fn every_command_works_in_every_language() {
    for (language, example) in [
        (Language::JavaScript, "javascript-subject-tags"),
        (Language::Python, "python-quiet-notices"),
        (Language::C, "c-blocklist"),
    ] {
        let Some(tools) = Toolchain::find(language) else {
            continue;
        };
        every_command_works(&tools, &tools.copy(&format!("policy-wasm/languages/{example}")));
        every_command_works(&tools, &tools.new_project("commands", "exemption"));
    }
}

fn every_command_works(tools: &Toolchain, project: &Path) {
    let component = tools.build(project).display().to_string();
    let cases = project.join("tests/cases.toml").display().to_string();
    let ask = |command: &str, more: &[&str]| -> serde_json::Value {
        let arguments = [&["policy", command, &component], more, &["--json"]].concat();
        let output = run(Command::new(posthouse()).args(&arguments), "");
        assert!(output.status.success(), "{arguments:?}: {}", output.text());
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    };
    assert!(ask("run", &["--case", &cases])["as-expected"].as_u64() > Some(2));
    let report = ask("bench", &["--case", &cases, "--rounds", "3"]);
    assert_eq!(report["policies"].as_array().map(Vec::len), Some(2), "{report:#}");
    let shown = ask("test-faults", &["--case", &cases]);
    assert!(shown.as_array().map(Vec::len) > Some(2), "{shown:#}");
    let told = ask("explain", &[]);
    let settings = told["settings"].as_array().expect("the policy tells its settings");
    assert!(
        settings.iter().all(|setting| !setting["default"].is_null()),
        "{settings:#?}"
    );
    assert!(!settings.is_empty() && told["memory"].as_u64() > Some(0), "{told:#}");
    run(Command::new(posthouse()).args(["policy", "inspect", &component]), "").ok();
}

/// An exception while the settings are read is told to whoever loads the policy.
#[test]
fn an_exception_in_configure_is_told() {
    for (language, file, from, to, expected) in [
        (
            Language::JavaScript,
            "src/exemption.js",
            "refused = new Set(settings",
            "refused = nowhere.at(settings",
            "nowhere is not defined",
        ),
        (
            Language::Python,
            "src/admission.py",
            "    refused = frozenset(",
            "    refused = nowhere(",
            "NameError: name 'nowhere' is not defined",
        ),
    ] {
        let Some(tools) = Toolchain::find(language) else {
            continue;
        };
        let project = tools.new_project("faulty-settings", "exemption");
        let file = project.join(file);
        let source = std::fs::read_to_string(&file).expect("a source file");
        let source = source.replace(from, to);
        std::fs::write(&file, &source).expect("written");
        assert!(source.contains("nowhere"), "{source}");
        let component = tools.build(&project);
        let said = run(Command::new(posthouse()).args(["policy", "check"]).arg(&component), "").failed();
        assert!(said.contains("faults in configure: panic"), "{language:?}: {said}");
        assert!(said.contains(expected), "{language:?}: {said}");
    }
}

fn cases_pass(component: &Path, project: &Path) {
    let cases = project.join("tests/cases.toml");
    let arguments = [
        "policy".as_ref(),
        "run".as_ref(),
        component.as_os_str(),
        "--case".as_ref(),
        cases.as_os_str(),
    ];
    run(Command::new(posthouse()).args(arguments), "").ok();
}

/// What a recipient's local part makes the policy do, the class of the fault that follows, and what
/// the event's text has of the language's own words.
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

fn every_misbehaviour_is_one_event(language: Language, mischief: &[Mischief]) {
    let Some(tools) = Toolchain::find(language) else { return };
    let mut site = Site::new();
    // It goes on faulting, and is not to be rolled back for that.
    site.set("policy-engine.probation.faults", 0)
        .set("policy-engine.compile-time", "10m");
    let mut daemon = site.start();
    load_misbehaving("misbehaving", &tools, language, &site);
    for (mode, class, words) in mischief {
        assert_eq!(recipient(&daemon, mode), 451, "{mode}");
        let fault = daemon.events().take(4037).fields["fault"].clone();
        assert_eq!(fault["class"], *class, "{mode}: {fault:#}");
        assert_eq!(fault["stage"], "recipient", "{mode}: {fault:#}");
        let said = fault["stderr"].as_str().unwrap_or_default();
        assert!(said.contains(words), "{mode}: {fault:#}");
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

/// The page on C says so: an absent identity is zeros, and no fault.
#[test]
fn in_c_what_is_absent_reads_as_zeros() {
    let Some(tools) = Toolchain::find(Language::C) else {
        return;
    };
    let site = Site::new();
    let daemon = site.start();
    load_misbehaving("assuming", &tools, Language::C, &site);
    assert_eq!(recipient(&daemon, "assume"), 250, "an answer, and no fault");
    assert!(daemon.events().all(4037).is_empty());
}

fn load_misbehaving(name: &str, tools: &Toolchain, language: Language, site: &Site) {
    let project = tools.new_project(name, "homing");
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/languages");
    overlay(&guests.join(language.name()), &project);
    let component = tools.build(&project);
    site.cli(&["policy", "load", &component.to_string_lossy(), "--settings", "{}"])
        .ok();
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

/// Settings of the wrong type are named by their key, in every language.
#[test]
fn settings_of_the_wrong_type_are_named() {
    let mut site = Site::new();
    // Two of these carry an interpreter, and other tests compile beside this one.
    site.set("policy-engine.compile-time", "10m");
    let daemon = site.start();
    for language in [Language::JavaScript, Language::Python, Language::C] {
        let Some(tools) = Toolchain::find(language) else {
            continue;
        };
        let component = tools.build(&tools.new_project("settings", "homing"));
        let settings = r#"{"refuse": ["a@example.org", 5], "refused": []}"#;
        let said = site
            .cli(&["policy", "load", &component.to_string_lossy(), "--settings", settings])
            .failed();
        assert!(said.contains("refuse[1]: expected text"), "{language:?}: {said}");
        assert!(
            said.contains("refused: there is no such setting"),
            "{language:?}: {said}"
        );
        daemon.events().take(5004);
    }
}

/// Who lacks a tool is told which, and how to get it.
#[test]
fn a_missing_tool_is_named() {
    for (language, needed) in [
        (Language::JavaScript, "node and npm are needed"),
        (Language::Python, "Python 3.10 or newer with venv is needed"),
        (Language::C, "no C compiler that makes WebAssembly"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let project = folder.path().join("mine");
        let arguments = ["policy", "new", "mine", "--lang", language.name()];
        run(Command::new(posthouse()).args(arguments).arg(&project), "").ok();
        let bare = folder.path().join("bin");
        std::fs::create_dir(&bare).expect("a folder");
        for program in ["sh", "dirname"] {
            std::os::unix::fs::symlink(format!("/usr/bin/{program}"), bare.join(program)).expect("a link");
        }
        let mut script = Command::new(project.join("build.sh"));
        let script = script.env_clear().env("PATH", &bare).env("POSTHOUSE", posthouse());
        let said = run(script, "").failed();
        assert!(said.contains(needed), "{language:?}: {said}");
    }
}
