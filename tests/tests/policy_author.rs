//! The commands for policy authors: new projects, cases, costs and faults.

use std::path::{Path, PathBuf};
use std::process::Command;

use posthouse_tests::{Output, Site, example, guest, posthouse, run};
use serde_json::Value;

fn cli(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(posthouse());
    command
        .args(arguments)
        .current_dir(folder)
        .env("XDG_CACHE_HOME", cache());
    run(&mut command, "")
}

/// Returns the cache folder of compiled policies, shared by all tests of a build.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

fn json(output: Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.text()))
}

const CASES: &str = r#"
[settings]
refuse = ["nobody@example.org"]

[[case]]
name = "nobody gets no mail"
sender = "anna@example.org"
recipient = "Nobody@example.org"
message = "Subject: x\n\nHi\n"
expect.recipient = { decision = "reject 550", rule = "refuse" }

[[case]]
name = "others do" # a remark that stays
sender = "<>"
recipients = ["bert@example.org", "nobody@example.org"]
message = "Subject: x\n\nHi\n"
expect.message = "pass"
expect.recipients = { "bert@example.org" = "pass", "nobody@example.org" = "reject" }

[[case]]
name = "a slip of the pen in the settings"
settings = { refuze = [] }
sender = "<>"
expect.problems = ["refuze"]
"#;

/// Creates a folder with cases and returns the folder, the first policy and the file of cases.
fn first_policy_with_cases() -> (tempfile::TempDir, String, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let cases = folder.path().join("cases.toml");
    std::fs::write(&cases, CASES).expect("written");
    let policy = example("first-policy").display().to_string();
    (folder, policy, cases)
}

#[test]
fn runs_cases_with_reproducible_costs() {
    let (folder, policy, _) = first_policy_with_cases();
    let arguments = ["policy", "run", &policy, "--case", "cases.toml", "--json"];
    let first = cli(folder.path(), &arguments);
    assert!(first.status.success(), "{}", first.text());
    let (first, second) = (json(first), json(cli(folder.path(), &arguments)));
    assert_eq!(first["as-expected"], 3);
    let steps = |report: &Value| -> Vec<(String, u64)> {
        let cases = report["cases"].as_array().expect("cases").iter();
        let steps = cases.flat_map(|case| case["steps"].as_array().expect("steps").clone());
        steps
            .map(|step| {
                let stage = step["stage"].as_str().expect("a stage").to_owned();
                (stage, step["cost"]["fuel"].as_u64().expect("fuel"))
            })
            .collect()
    };
    let found = steps(&first);
    let stages: Vec<_> = found.iter().map(|(stage, _)| stage.as_str()).collect();
    assert_eq!(
        stages,
        ["sender", "recipient", "sender", "recipient", "recipient", "message"]
    );
    assert!(found.iter().all(|(_, fuel)| *fuel > 0), "{found:?}");
    assert_eq!(found, steps(&second), "fuel does not depend on the day");
    let fresh = &first["cases"][0]["steps"][0]["fresh"];
    assert!(fresh["memory"].as_u64().expect("memory") >= 65_536, "{fresh}");
}

#[test]
fn reports_and_updates_an_unmet_expectation() {
    let (folder, policy, cases) = first_policy_with_cases();
    std::fs::write(&cases, CASES.replace("\"pass\", \"nobody", "\"accept\", \"nobody")).expect("written");
    let arguments = ["policy", "run", &policy, "--case", "cases.toml"];
    let told = cli(folder.path(), &arguments).failed();
    assert!(told.contains("NOT OK others do"), "{told}");
    assert!(
        told.contains(": expect.recipients") && told.contains("cases.toml:1"),
        "{told}"
    );
    assert!(told.contains("3 cases, 2 as expected, 1 not"), "{told}");
    let updated = cli(folder.path(), &[&arguments[..], &["--update"]].concat()).ok();
    assert!(updated.contains("updated cases.toml"), "{updated}");
    let text = std::fs::read_to_string(&cases).expect("a file");
    assert_eq!(text, CASES, "only what was wrong changed");
    cli(folder.path(), &arguments).ok();
}

#[test]
fn runs_the_cases_in_the_documents() {
    let (folder, policy, cases) = first_policy_with_cases();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/policy-cases.md");
    let page = std::fs::read_to_string(page).expect("a page");
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    std::fs::write(&cases, block.expect("a file of cases")).expect("written");
    // The second case is about a role that the first policy does not have.
    let told = cli(folder.path(), &["policy", "run", &policy, "--case", "cases.toml"]).failed();
    assert!(told.contains("ok     a recipient that gets no mail"), "{told}");
    assert!(told.contains("2 cases, 1 as expected, 1 not"), "{told}");
}

#[test]
fn shows_a_fault_with_file_and_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases = "[settings]\nmode = 'panic'\nstage = 'sender'\n[[case]]\nname = 'it panics'\nsender = '<>'\n\
                 expect.sender = 'fault panic'\n";
    std::fs::write(folder.path().join("c.toml"), cases).expect("written");
    let policy = example("misbehaving").display().to_string();
    let told = cli(folder.path(), &["policy", "run", &policy, "--case", "c.toml"]).ok();
    assert!(
        told.contains("sender: <>: fault panic") || told.contains("fault panic"),
        "{told}"
    );
    assert!(told.contains("misbehaving/src/"), "{told}");
}

#[test]
fn names_problems_of_the_input() {
    let (folder, policy, _) = first_policy_with_cases();
    let here = folder.path();
    let write = |name: &str, text: &str| std::fs::write(here.join(name), text).expect("written");
    write("typo.toml", "[[case]]\nname = 'x'\nsendr = '<>'\n");
    write(
        "words.toml",
        "[[case]]\nname = 'x'\nsender = '<>'\nexpect.sender = 'accep'\n",
    );
    write(
        "address.toml",
        "[[case]]\nname = 'x'\nsender = '<>'\nrecipient = 'nobody'\nexpect.recipient = 'pass'\n",
    );
    let core = guest("core-module", here).display().to_string();
    let other = guest("other-contract", here).display().to_string();
    let run = |file: &str, cases: &str| cli(here, &["policy", "run", file, "--case", cases]).failed();
    for (file, cases, expected) in [
        (policy.as_str(), "typo.toml", "typo.toml:3"),
        (&policy, "typo.toml", "sendr"),
        (&policy, "words.toml", "words.toml:4"),
        (&policy, "address.toml", "\"nobody\" is no address"),
        (&policy, "nowhere.toml", "nowhere.toml"),
        ("nowhere.wasm", "cases.toml", "nowhere.wasm"),
        (&core, "cases.toml", "without type information"),
        (&other, "cases.toml", "built for posthouse:policy@"),
        ("cases.toml", "cases.toml", "not WebAssembly"),
    ] {
        let told = run(file, cases);
        assert!(told.contains(expected), "{file} {cases}: {told}");
    }
    let settings = [
        "policy",
        "run",
        &policy,
        "--case",
        "cases.toml",
        "--settings",
        r#"{"refuse": 5}"#,
    ];
    let told = cli(here, &settings).failed();
    assert!(told.contains("refuse"), "{told}");
}

/// Checks that each command with a policy file names an invalid file and gives advice.
#[test]
fn every_command_names_a_file_that_is_not_a_policy() {
    let site = Site::new();
    let _daemon = site.start();
    let cases = site.file("cases.toml", CASES).display().to_string();
    std::fs::create_dir(site.path().join("folder")).expect("the folder can be written");
    site.file("empty.wasm", b"");
    site.file("text.wasm", b"This is not WebAssembly.\n");
    guest("core-module", site.path());
    let asking = ["--case", cases.as_str()];
    for (command, more, in_site) in [
        ("explain", &[][..], false),
        ("inspect", &[], false),
        ("run", &asking, false),
        ("bench", &asking, false),
        ("test-faults", &[], false),
        ("test-faults", &asking, false),
        ("check", &[], true),
        ("check", &["--running"], true),
        ("load", &[], true),
        ("shadow", &[], true),
        ("stage", &["--share", "10%"], true),
        ("replay", &[], true),
    ] {
        for (file, advice) in [
            ("/dev/null", "empty file: build the policy again"),
            ("folder", "name the .wasm file in it that the build makes"),
            ("missing.wasm", "build the policy first"),
            ("empty.wasm", "empty file: build the policy again"),
            ("text.wasm", "name the .wasm file that the build makes"),
            ("core-module.wasm", "build for wasm32-wasip2"),
        ] {
            let path = site.path().join(file).display().to_string();
            let arguments = [&["policy", command, &path], more].concat();
            let output = match in_site {
                true => site.cli(&arguments),
                false => cli(site.path(), &arguments),
            };
            let told = output.failed();
            let named = told
                .lines()
                .any(|line| line.contains(&format!("{path}: ")) && line.contains(advice));
            assert!(named, "{arguments:?}: {told}");
            assert!(
                told.lines()
                    .all(|line| !line.starts_with("file: ") && !line.contains(": file: ")),
                "the path is the key: {told}"
            );
        }
    }
}

#[test]
fn measures_costs_beside_the_default_policy() {
    let (folder, policy, _) = first_policy_with_cases();
    let arguments = ["policy", "bench", &policy, "--case", "cases.toml", "--rounds", "20"];
    let table = cli(folder.path(), &arguments).ok();
    assert!(
        table.contains("fresh p50") && table.contains("built-in default policy"),
        "{table}"
    );
    let report = json(cli(folder.path(), &[&arguments[..], &["--json"]].concat()));
    assert_eq!(report["rounds"], 20);
    let policies = report["policies"].as_array().expect("policies");
    assert_eq!(policies.len(), 2);
    for stage in policies
        .iter()
        .flat_map(|policy| policy["stages"].as_array().expect("stages"))
    {
        assert!(
            stage["fresh-p50"].as_f64() > Some(0.0) && stage["fuel"].as_u64() > Some(0),
            "{stage}"
        );
    }
}

#[test]
fn explains_a_policy() {
    let (folder, policy, _) = first_policy_with_cases();
    let told = cli(folder.path(), &["policy", "explain", &policy]).ok();
    for part in [
        "first-policy 0.1.0",
        "recipients that get no mail",
        "homing",
        "Rust",
        "file and line",
        "refuse: list of string, default []",
        "Addresses, in any case.",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let told = json(cli(folder.path(), &["policy", "explain", &policy, "--json"]));
    assert_eq!(told["rules"][0]["name"], "refuse");
    assert!(
        told["memory"].as_u64() > Some(0) && told["fuel-to-begin"].as_u64() > Some(0),
        "{told}"
    );
    let silent = example("misbehaving").display().to_string();
    let told = cli(folder.path(), &["policy", "explain", &silent]).ok();
    assert!(told.contains("does not tell"), "{told}");
    let other = guest("other-contract", folder.path()).display().to_string();
    let told = cli(folder.path(), &["policy", "explain", &other]).failed();
    assert!(told.contains("problem") && told.contains("this host serves"), "{told}");
}

#[test]
fn tests_faults_at_every_stage_of_the_default_policy() {
    let folder = tempfile::tempdir().expect("a folder");
    let policy = example("posthouse-default-policy").display().to_string();
    let output = cli(folder.path(), &["policy", "test-faults", &policy, "--json"]);
    assert!(output.status.success(), "{}", output.text());
    let shown = json(output);
    let shown = shown.as_array().expect("stages");
    let stages: Vec<_> = shown
        .iter()
        .map(|shown| shown["stage"].as_str().expect("a stage"))
        .collect();
    assert_eq!(
        stages,
        [
            "describe",
            "configure",
            "admit",
            "sender",
            "recipient",
            "message",
            "ndr"
        ]
    );
    let meets = |place: usize| shown[place]["meets"].to_string();
    assert!(meets(0).contains("the load is refused"), "{}", meets(0));
    assert!(meets(1).contains("the load is refused"), "{}", meets(1));
    assert!(meets(2).contains("exempt from nothing"), "{}", meets(2));
    for place in 3..6 {
        assert!(meets(place).contains("451 4.3.0"), "{}", meets(place));
    }
    assert!(meets(6).contains("the host's own report goes to"), "{}", meets(6));
    assert!(shown[6]["events"].to_string().contains("4120"), "{}", shown[6]);
    for shown in &shown[2..] {
        assert_eq!(shown["fault"]["stage"], shown["stage"]);
        assert!(shown["fault"]["function"].is_string(), "{shown}");
        assert!(shown["events"].to_string().contains("4037"), "{shown}");
    }
}

/// Creates a project with `policy new` and runs the project's `ci.sh`, offline with cargo's registry cache.
fn build_new_policy(role: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let name = format!("new-{role}");
    let made = cli(folder.path(), &["policy", "new", &name, "--role", role]).ok();
    assert!(made.contains("./ci.sh"), "{made}");
    let inside = folder.path().join(&name);
    let mut ci = Command::new("./ci.sh");
    ci.current_dir(&inside)
        .env("POSTHOUSE", posthouse())
        .env("XDG_CACHE_HOME", cache())
        // The toolchain of these tests has the Wasm target; the newest toolchain may lack the target.
        .env("RUSTUP_TOOLCHAIN", env!("CARGO_PKG_RUST_VERSION").to_owned() + ".0")
        .env("CARGO_NET_OFFLINE", "true")
        .env(
            "CARGO_TARGET_DIR",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-policies"),
        )
        .env_remove("RUSTFLAGS");
    // Without a deadline: compilation time depends on the machine.
    let built = ci.output().expect("the script can be run");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&built.stdout),
        String::from_utf8_lossy(&built.stderr)
    );
    assert!(built.status.success(), "{role}: {text}");
    assert!(text.contains("as expected, 0 not"), "{role}: {text}");
    let again = cli(folder.path(), &["policy", "new", &name, "--role", role]).failed();
    assert!(again.contains("is not empty"), "{again}");
    let lock = std::fs::read_to_string(inside.join("Cargo.lock")).expect("a lock file");
    assert!(!lock.contains("\"wasmtime\""));
}

#[test]
fn new_policies_build_and_pass_their_cases() {
    for role in ["exemption", "homing", "ndr", "all"] {
        build_new_policy(role);
    }
}

#[test]
fn refuses_invalid_project_names() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, expected) in [("Bad", "lower-case"), ("class", "already"), ("../x", "lower-case")] {
        let told = cli(folder.path(), &["policy", "new", name]).failed();
        assert!(told.contains(expected), "{name}: {told}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}
