//! Policies in JavaScript, Python and C: projects of `policy new`, and the worked examples. The test of a language
//! whose tools are unavailable prints SKIPPED; `.ci/run` installs the tools.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use posthouse_tests::{Language, Output, Site, Toolchain, example, posthouse, program_folder, run};

const ROLES: [&str; 4] = ["exemption", "homing", "ndr", "all"];
/// Worked examples, in folders of `policy-wasm/languages`.
const EXAMPLES: [(Language, &str); 3] = [
    (Language::JavaScript, "javascript-subject-tags"),
    (Language::Python, "python-quiet-notices"),
    (Language::C, "c-blocklist"),
];

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
fn worked_examples_in_other_languages_pass_their_cases() {
    for (language, example) in EXAMPLES {
        let Some(tools) = Toolchain::find(language) else {
            continue;
        };
        let project = tools.copy(&format!("policy-wasm/languages/{example}"));
        cases_pass(&tools.build(&project), &project);
    }
}

/// Confirms a statement of the guide: zig is sufficient for C.
#[test]
fn zig_alone_builds_c() {
    let Some(tools) = Toolchain::zig() else { return };
    let project = tools.copy("policy-wasm/languages/c-blocklist");
    cases_pass(&tools.build(&project), &project);
}

/// Runs each command for authors on each worked example and on a new policy of each language.
#[test]
fn every_command_works_in_every_language() {
    for (language, example) in EXAMPLES {
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

/// Checks that the output of a load contains an exception raised by `configure`.
#[test]
fn load_reports_an_exception_in_configure() {
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

/// Checks the messages about invalid settings in every language.
#[test]
fn names_settings_of_the_wrong_type() {
    let site = Site::new();
    let daemon = site.start();
    let expect_problems = |component: &Path, problems: [&str; 2]| {
        let settings = r#"{"refuse": ["a@example.org", 5], "refused": []}"#;
        let said = site
            .cli(&["policy", "load", &component.to_string_lossy(), "--settings", settings])
            .failed();
        for problem in problems {
            assert!(said.contains(problem), "{}: {said}", component.display());
        }
        daemon.events().take(5004);
    };
    for language in [Language::JavaScript, Language::Python, Language::C] {
        if let Some(tools) = Toolchain::find(language) {
            let component = tools.build(&tools.new_project("settings", "homing"));
            let problems = ["refuse[1]: expected text", "refused: there is no such setting"];
            expect_problems(&component, problems);
        }
    }
    // In Rust the messages come from serde.
    expect_problems(
        &example("first-policy"),
        [
            "refuse[1]: invalid type: integer `5`, expected a string",
            "refused: unknown field `refused`, expected `refuse`",
        ],
    );
}

/// Checks that a missing tool is named with advice, by `policy new` and by `build.sh`.
#[test]
fn names_a_missing_tool() {
    for (language, advice, needed) in [
        (
            "rust",
            "cargo: Rust, with rustup",
            "cargo is needed: install Rust with rustup",
        ),
        ("javascript", "node", "node and npm are needed"),
        ("python", "python3", "Python 3.10 or newer with venv is needed"),
        ("c", "clang", "no C compiler that makes WebAssembly"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let bare = program_folder(&["sh", "dirname"], folder.path());
        let project = new_project(folder.path(), language);
        let mut new = Command::new(posthouse());
        new.args(["policy", "new", "other", "--lang", language])
            .current_dir(folder.path())
            .env("PATH", &bare);
        let said = run(&mut new, "");
        assert!(
            said.status.success() && said.text().contains(advice),
            "{language}: {}",
            said.text()
        );
        let said = build(&project, &bare).failed();
        assert!(said.contains(needed), "{language}: {said}");
    }
}

/// Checks the advice for a Rust toolchain that was not installed by rustup and lacks the Wasm target.
#[test]
fn names_a_missing_rust_target() {
    let folder = tempfile::tempdir().expect("a folder");
    let bare = program_folder(&["sh", "dirname"], folder.path());
    let project = new_project(folder.path(), "rust");
    for program in ["cargo", "rustc"] {
        let file = bare.join(program);
        std::fs::write(&file, "#!/bin/sh\necho /usr/lib/rustlib/wasm32-wasip2/lib\n").expect("written");
        std::fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("a program");
    }
    let said = build(&project, &bare).failed();
    assert!(said.contains("rustup target add wasm32-wasip2"), "{said}");
}

fn new_project(folder: &Path, language: &str) -> PathBuf {
    let project = folder.join("mine");
    let arguments = ["policy", "new", "mine", "--lang", language];
    run(Command::new(posthouse()).args(arguments).arg(&project), "").ok();
    project
}

/// Runs the `build.sh` of a project with a search path that contains a single folder.
fn build(project: &Path, programs: &Path) -> Output {
    let mut script = Command::new(project.join("build.sh"));
    script.env_clear().env("PATH", programs).env("POSTHOUSE", posthouse());
    run(&mut script, "")
}
