//! Checks of wrong configurations: each file in `tests/bad-configs` yields exactly the problems of the `.expect` file
//! and the warnings of the `.warnings` file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use posthouse_tests::{Pattern, Site};

const WRONG_DIRECTORY: &str = r#"
domains = ["not a domain"]

[[account]]
name = "anna"
password = "in clear"

[[account]]
name = "../../etc"

[[account]]
name = "costly"
password = "$2y$31$z2DUmYA4zhUD2PLl6.EwYuoheY64P9x24gKc.jZTI2Wpkk1GKi8IG"

[[account]]
name = "unread"
password = "{DES-CRYPT}antaMjN28DM5A"

[[account]]
name = "two"
password = ["{PLAIN}one", "{PLAIN}two"]
"#;

const DUBIOUS_DIRECTORY: &str = r#"
domains = ["posthouse.test"]

[[account]]
name = "admin"
addresses = ["admin@posthouse.test"]

[[account]]
name = "idle"
password = "{PLAIN}secret"

[[account]]
name = "all"
addresses = ["*@posthouse.test"]
send-as = ["*@shop.example"]

[[account]]
name = "box"
addresses = ["box@posthouse.test"]
home = "lmtp:box.example:25"

[[account]]
name = "circle"
addresses = ["circle@posthouse.test"]
home = "smtp:127.0.0.1:2525"

[[alias]]
address = "one@posthouse.test"
to = ["two@posthouse.test"]

[[alias]]
address = "two@posthouse.test"
to = ["One@posthouse.test"]

[[alias]]
address = "old@posthouse.test"
to = ["gone@posthouse.test"]

[[group]]
address = "empty@posthouse.test"
members = []
"#;

/// An RSA key of 1024 bits, made for this test.
const SHORT_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIICdQIBADANBgkqhkiG9w0BAQEFAASCAl8wggJbAgEAAoGBALxkjUKJtBotKX/w
f98Z8Z49zAyQt7HX1RJAzauKf2RZ6DQaCDAINbn+V/PMVlxG7jqXNAzLBkM1QeCZ
4uZgeXwDsKcTnQFtgRnqHy+0NTRtzOnqj/hkfSl3f5g/6Rinl60Gb4Z1mbvVpw1K
Jr4VtPuh6/1jclivz2AbK3yPIcjjAgMBAAECgYB0MnjGP3TsaEqedNIJ41CZz3fZ
kDEc6girl3jDg0sLtEB6UkwWhBnPPEc3QiNKCx3I2ZXrBhY4wdJ+G6xNd9e1TRC0
DO274F1R9LfuL033T/0jylj27fqGvTwFc/EJUjWE1jIFVv5O4fJpzvsKNKG0TV1Y
PqiuaNA4UVVUM49kYQJBANxxcP8TSdX+iNBrj8og8isQrs7Rb5Kc+vTs0/mGBudf
c9U7iOH/B7VPdbl3x8wK2WQ9x7pjJa5ccZSzOU/Bd2kCQQDax68vi0UgDv8u/pqW
MFYVdnqE+/8KsBU6wAtsFDnRwdl8prZ5TGnf3LRY1QEbXpxmvAS3ruPbUbaeZhbi
YeBrAkABaoUkTlZqFoGAfUBmNwH3Ptswnu3Njk6aZi8Sakb/E4Dl/MTrVr0Q8Bq8
f0V8TRGKcE8pJlvmm9dq8h/LIF4JAkBvaHIYVuZbfeeKqdJUmsarZUrcv2pPqf0V
jsgCQIZ0/y7eIBMZz8S2X7Bi8A0BP/uLAUGxu9iCTakeHkSXAVqDAkAgklfzBvG8
Ou0u7XiHExRf9kFSaqobKFphaSt70V9lo/Wi9sCcqhU9yKl+1JdcCZsSPtN221AK
y8R3XSYvPF4m
-----END PRIVATE KEY-----
";

/// A key on the curve P-256, made for this test.
const CURVE_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgB0150IflV/2hmzU6
IehM1YZOxQRi6iDpkbzy8i501myhRANCAAT5xbNSpjm7q9f5bC3KH88If508H7Cd
Hmx1k/l35iG8hdX5I0cO1dvCrIlocG+dCqINKhrc7+bzJ8+QzB3I1BI7
-----END PRIVATE KEY-----
";

/// Writes certificates of mx.posthouse.test that clients refuse, and their keys.
fn make_certificates(site: &Site) {
    let make = |name: &str, from: i32, until: i32| {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("made");
        (certificate.pem(), key.serialize_pem())
    };
    for (file, name, from, until) in [
        ("expired", "mx.posthouse.test", 2000, 2001),
        ("early", "mx.posthouse.test", 2150, 2151),
        ("other", "other.example", 2000, 2150),
        ("joined", "mx.posthouse.test", 2000, 2150),
    ] {
        let (mut certificate, key) = make(name, from, until);
        if file == "joined" {
            certificate = format!("{}{}", certificate.trim_end(), make("other.example", 2000, 2150).0);
        }
        site.file(&format!("{file}.pem"), certificate);
        let key = site.file(&format!("{file}.key"), key);
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).expect("changed");
    }
}

/// Writes keys for DKIM, one sound and the others not.
fn make_dkim_keys(site: &Site) {
    let made = site.cli(&[
        "dkim",
        "new",
        "posthouse.test",
        "--selector",
        "sound",
        "--algorithm",
        "ed25519",
    ]);
    made.ok();
    let sound = std::fs::read_to_string(site.path().join("dkim/posthouse.test.sound.pem")).expect("made");
    let (_, pem) = sound.split_once('\n').expect("a line that names the record");
    for (file, text, mode) in [
        ("sound.pem", sound.as_str(), 0o600),
        ("open.pem", &sound, 0o644),
        ("short.pem", SHORT_KEY, 0o600),
        ("curve.pem", CURVE_KEY, 0o600),
        ("cut.pem", &pem[..pem.len() / 2], 0o600),
        ("encrypted.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n", 0o600),
    ] {
        let key = site.file(&format!("dkim/{file}"), text);
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(mode)).expect("changed");
    }
}

#[test]
fn reports_the_expected_messages_for_every_bad_configuration() {
    let site = Site::new();
    site.file("wrong-directory.toml", WRONG_DIRECTORY);
    site.file("dubious-directory.toml", DUBIOUS_DIRECTORY);
    site.file("public-password", "secret\n");
    make_certificates(&site);
    make_dkim_keys(&site);
    let files = bad_configurations();
    assert!(files.len() >= 12, "files are missing");
    let failures: Vec<String> = files.iter().filter_map(|file| compare(&site, file).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn accepts_the_sample_configuration() {
    let site = Site::new();
    site.cli(&["check"]).ok();
}

#[test]
fn the_start_and_a_reload_tell_the_warnings_of_check() {
    let mut site = Site::new();
    site.set("policy.settings.relay.clients", vec!["10.0.0.0/8", "0.0.0.0/0"]);
    let daemon = site.start();
    let key = "policy[0].settings.relay.clients[1]: every client in 0.0.0.0/0 may send to every destination";
    let at_start = daemon.events().take(5070).text("warnings");
    assert!(at_start.contains("line ") && at_start.contains(key), "{at_start}");
    assert!(site.cli(&["check"]).stderr.contains(key));

    site.set("policy.settings.relay.clients", vec!["10.0.0.0/8"]);
    site.set("delivery.smart-host", "relay.example.net:443");
    let reloaded = site.cli(&["reload"]).text();
    assert!(reloaded.contains("port 443 is for HTTPS"), "{reloaded}");
    let warnings = daemon
        .events()
        .take_where(5070, |event| !event.text("warnings").contains("0.0.0.0/0"));
    assert!(
        warnings.text("warnings").contains("delivery.smart-host"),
        "{warnings:?}"
    );
}

fn bad_configurations() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bad-configs");
    let entries = std::fs::read_dir(folder).expect("the folder is part of the repository");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

/// Compares the problems that the command prints with the `.expect` file, and its warnings with the `.warnings` file.
/// Either file may be missing: then there are no problems, or the warnings are not compared.
fn compare(site: &Site, file: &Path) -> Result<(), String> {
    let configuration = std::fs::read_to_string(file).expect("a configuration");
    std::fs::write(site.configuration_file(), configuration).expect("the folder can be written");
    let said = site.cli(&["check"]);
    let problems = std::fs::read_to_string(file.with_extension("expect")).ok();
    let warnings = std::fs::read_to_string(file.with_extension("warnings")).ok();
    assert!(
        problems.is_some() || warnings.is_some(),
        "{} has no messages",
        file.display()
    );
    if let Some(problems) = &problems {
        let total = format!("{} problem(s)", problems.lines().count());
        let wanted: Vec<&str> = problems.lines().chain([total.as_str()]).collect();
        let got: Vec<&str> = said.stdout.lines().collect();
        compare_lines(file, &wanted, &got)?;
    }
    if let Some(warnings) = &warnings {
        let got: Vec<&str> = said
            .stderr
            .lines()
            .filter_map(|line| line.strip_prefix("warning: "))
            .filter(|line| !is_about_the_machine(line))
            .collect();
        compare_lines(file, &warnings.lines().collect::<Vec<_>>(), &got)?;
    }
    match said.status.success() == problems.is_none() {
        true => Ok(()),
        false => Err(format!("{}: {}\n{}", file.display(), said.status, said.text())),
    }
}

/// True for warnings about the user and the umask of the tests.
fn is_about_the_machine(warning: &str) -> bool {
    without_line(warning).starts_with("data: ")
}

fn compare_lines(file: &Path, wanted: &[&str], got: &[&str]) -> Result<(), String> {
    let fits = |want: &str, got: &str| {
        let pattern = Pattern::new(want);
        pattern.matches(got) || pattern.matches(&without_line(got))
    };
    if wanted.len() == got.len() && wanted.iter().zip(got).all(|(want, got)| fits(want, got)) {
        return Ok(());
    }
    Err(format!(
        "{}: wanted\n  {}\ngot\n  {}",
        file.display(),
        wanted.join("\n  "),
        got.join("\n  ")
    ))
}

/// Removes `line N: `, at the beginning and after the name of a file, for expectations that leave the lines out.
fn without_line(text: &str) -> String {
    let mut parts: Vec<&str> = text.split(": ").collect();
    parts.retain(|part| {
        part.strip_prefix("line ")
            .is_none_or(|digits| digits.parse::<u32>().is_err())
    });
    parts.join(": ")
}
