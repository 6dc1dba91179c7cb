//! Tests of valid and invalid configuration files.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use host_directory::FileDirectory;

fn problems(text: &str) -> Vec<String> {
    let ConfigError(problems) = Config::parse(text, Path::new("/etc/posthouse")).expect_err("problems");
    problems.iter().map(ToString::to_string).collect()
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/samples")
}

#[test]
fn accepts_every_sample() {
    let mut seen = 0;
    for entry in fs::read_dir(samples()).expect("docs/samples") {
        let path = entry.expect("entry").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        seen += 1;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("directory") {
            let administrator = "anna@example.org".parse().expect("mailbox");
            FileDirectory::open(&path, "/mail", administrator)
                .unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        } else {
            Config::load(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    assert!(seen >= 4);
}

#[test]
fn sample_of_defaults_equals_the_defaults() {
    let base = Path::new("/");
    let written = fs::read_to_string(samples().join("defaults.toml")).expect("defaults.toml");
    let written = Config::parse(&written, base).expect("right");
    let bare = "administrator = 'postmaster@localhost'\ndata = '/var/lib/posthouse'";
    let bare = Config::parse(bare, base).expect("right");
    assert_eq!(format!("{written:#?}"), format!("{bare:#?}"));
}

#[test]
fn resolves_relative_paths_at_the_folder_of_the_file() {
    let text = "administrator = 'a@b.example'\ndata = 'd'\ndirectory = '/x/dir.toml'\n[[policy]]\nfile = 'p.wasm'";
    let config = Config::parse(text, Path::new("/etc/posthouse")).expect("right");
    assert_eq!(config.data, Path::new("/etc/posthouse/d"));
    assert_eq!(config.control, Path::new("/etc/posthouse/d/control.sock"));
    assert_eq!(config.directory, Path::new("/x/dir.toml"));
    assert_eq!(
        config.policies[0].file.as_deref(),
        Some(Path::new("/etc/posthouse/p.wasm"))
    );
}

#[test]
fn accepts_an_empty_chain_but_no_empty_list_of_listeners() {
    let none = Config::parse("administrator = 'a@b.example'\npolicy = []", Path::new("/")).expect("right");
    assert!(none.policies.is_empty());
    assert_eq!(
        problems("administrator = 'a@b.example'\nlistener = []"),
        ["listener: at least one listener is needed"]
    );
}

#[test]
fn reports_every_problem_in_one_run_under_its_key() {
    let text = r#"
hostname = "not a name"
colour = "red"
drain = "30 weeks"
[[listener]]
name = "smtp"
address = "0.0.0.0:25"
[[listener]]
name = "smtp"
address = "0.0.0.0:25"
tls = "ssl"
[[listener]]
name = "Bad Name"
address = "somewhere"
[[listener]]
name = "clear"
address = "127.0.0.1:0"
tls = "off"
require-encryption = true
require-authentication = true
[tls]
certificate = "c.pem"
[limits]
recipients = 5
message-size = "1KiB"
[[policy]]
name = "a"
grants = ["directory", "wasi:http"]
[[policy]]
name = "a"
settings = 5
[policy.limits]
memory = "8GiB"
[faults]
admit = "panic"
[delivery]
smart-host = "/run/socket"
retry = []
[[delivery.route]]
domain = "a.example"
to = "/run/lmtp"
[[delivery.route]]
domain = "a.example"
to = "/run/lmtp"
protocol = "lmtp"
"#;
    assert_eq!(
        problems(text),
        [
            "administrator: is missing",
            "hostname: \"not a name\" is not a domain name",
            "drain: expected a duration such as \"15s\", \"4h\" or \"2d\", found \"30 weeks\"",
            "listener[1].tls: expected \"off\" or \"starttls\" or \"implicit\", found \"ssl\"",
            "listener[1].name: there is a listener \"smtp\" already",
            "listener[1].address: another listener has 0.0.0.0:25 already",
            "listener[2].name: expected 1 to 64 lower-case letters, digits, hyphens, dots or underscores",
            "listener[2].address: \"somewhere\": invalid socket address syntax",
            "listener[3].require-encryption: nobody can meet this while tls is \"off\"",
            "listener[3].require-authentication: nobody can meet this: tls is \"off\" and auth-without-tls is not true",
            "tls.key: is missing",
            "limits.message-size: at least 65536 bytes are needed, found 1024",
            "limits.recipients: expected a whole number from 100 to 100000, found 5",
            "policy[0].grants[1]: \"wasi:http\" is nothing a policy can import; there are directory, message, host, dns, counters, verification",
            "policy[1].name: there is a policy \"a\" already",
            "policy[1].settings: expected a table",
            "policy[1].limits.memory: at most 4GiB: a policy has 32-bit addresses",
            "faults.admit: expected \"not-exempt\" or \"defer\", found \"panic\"",
            "delivery.retry: at least one wait is needed, such as [\"15m\", \"1h\"]",
            "delivery.route[0].to: expected host:port, found the socket /run/lmtp",
            "delivery.route[1].domain: there is a route for a.example already",
            "delivery.smart-host: expected host:port, found the socket /run/socket",
            "colour: unknown key; known here: administrator, control, data, decisions, delivery, directory, dkim, dns, \
             drain, events, faults, hostname, limits, listener, login-limits, low-water, mailboxes, overload, policy, \
             policy-engine, spool, srs, submission, timeouts, tls",
        ]
    );
}

#[test]
fn names_a_missing_file() {
    let error = Config::load(Path::new("/nowhere/posthouse.toml")).expect_err("missing");
    assert!(error.to_string().starts_with("/nowhere/posthouse.toml: "), "{error}");
}

#[test]
fn checks_certificates_and_keys() {
    let dir = tempfile::tempdir().expect("folder");
    let right = make_self_signed(dir.path(), "mail.example.org").expect("made").files;
    assert!(server_config(&right).is_ok());
    assert_eq!(
        make_self_signed(dir.path(), "mail.example.org").expect("kept").files,
        right
    );
    let other = make_self_signed(&dir.path().join("other"), "mail.example.org")
        .expect("made")
        .files;

    let text = dir.path().join("text.pem");
    fs::write(&text, "Hello").expect("writes");
    let garbage = dir.path().join("garbage.pem");
    fs::write(
        &garbage,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .expect("writes");
    let files = |certificate: &Path, key: &Path| TlsFiles {
        certificate: certificate.into(),
        key: key.into(),
    };
    let wrong = |files: TlsFiles| -> Vec<String> {
        let found = server_config(&files).expect_err("problems");
        found.into_iter().map(|problem| problem.key).collect()
    };
    assert_eq!(wrong(files(&text, &right.key)), ["tls.certificate"]);
    assert_eq!(wrong(files(&garbage, &right.key)), ["tls.certificate"]);
    assert_eq!(wrong(files(&right.certificate, &text)), ["tls.key"]);
    assert_eq!(wrong(files(&right.certificate, &other.key)), ["tls.key"]);
    assert_eq!(
        wrong(files(Path::new("/nowhere"), Path::new("/nowhere"))),
        ["tls.certificate", "tls.key"]
    );
}

#[test]
fn checks_the_environment_without_changing_it() {
    let dir = tempfile::tempdir().expect("folder");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("writes");
    let text = format!(
        "administrator = 'a@b.example'\ndata = '{0}/file/data'\nmailboxes = '{0}/mail'\n[[policy]]\nfile = 'no.wasm'\n\
         [tls]\ncertificate = 'file'\nkey = 'file'",
        dir.path().display()
    );
    let config = Config::parse(&text, dir.path()).expect("right in itself");
    let keys: Vec<_> = problems_around(&config)
        .into_iter()
        .map(|problem| problem.key)
        .collect();
    assert_eq!(keys, ["data", "tls.certificate", "tls.key"]);
    let unreadable = unreadable_components(&config);
    assert_eq!((unreadable.len(), unreadable[0].key.as_str()), (1, "policy[0].file"));
    assert!(!dir.path().join("mail").exists());
}
