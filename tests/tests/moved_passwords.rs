//! Password hashes of other systems: made by Dovecot and by Python's crypt(3), used at a login over TLS.

use std::process::Command;

use posthouse_tests::{Client, Daemon, Site, run, tool};

const WORD: &str = "gr\u{fc}\u{df}e um f\u{fc}nf";

fn under_tls(daemon: &Daemon) -> Client {
    under_tls_from(daemon, "127.0.0.1")
}

fn under_tls_from(daemon: &Daemon, source: &str) -> Client {
    let mut client = daemon.connect_from(source);
    client.ehlo();
    client.starttls();
    client
}

/// Starts a daemon with one account for each hash, and logs in to each with the right and with a wrong password.
fn log_in_with_each(hashes: &[String]) {
    let mut site = Site::new();
    site.set("login-limits.failures-per-client", 0)
        .set("login-limits.delay", "1ms");
    for (number, hash) in hashes.iter().enumerate() {
        assert!(!hash.contains('\''), "{hash}");
        site.add_to_directory(&format!(
            "[[account]]\nname = 'moved{number}'\npassword = '{hash}'\naddresses = ['moved{number}@posthouse.test']"
        ));
    }
    site.cli(&["check"]).ok();
    let daemon = site.start();
    for (number, hash) in hashes.iter().enumerate() {
        let user = format!("moved{number}");
        // The delay of failed logins grows for each client.
        under_tls_from(&daemon, &format!("127.0.1.{number}")).auth_plain(&user, "wrong", 535);
        let reply = under_tls(&daemon).auth_plain(&user, WORD, 235);
        assert_eq!(reply.code, 235, "{hash}");
    }
    assert_eq!(daemon.events().all(4183).len(), hashes.len());
}

#[test]
fn hashes_of_dovecot_log_in() {
    let Some(doveadm) = tool("doveadm") else { return };
    let schemes = [
        "SHA",
        "SHA256",
        "SHA512",
        "SSHA",
        "SSHA256",
        "SSHA512",
        "SSHA512.HEX",
        "SMD5",
        "LDAP-MD5",
        "PLAIN-MD5",
        "MD5-CRYPT",
        "SHA256-CRYPT",
        "SHA512-CRYPT",
        "BLF-CRYPT",
        "CRYPT",
        "PBKDF2",
        "SCRAM-SHA-1",
        "SCRAM-SHA-256",
        "ARGON2I",
        "ARGON2ID",
        "PLAIN",
        "CLEARTEXT",
    ];
    let make = |scheme: &&str| {
        let made = run(Command::new(&doveadm).args(["pw", "-s", scheme, "-p", WORD]), "").ok();
        let hash = made.trim_end().to_owned();
        assert!(hash.starts_with(&format!("{{{scheme}}}")), "{hash}");
        hash
    };
    log_in_with_each(&schemes.iter().map(make).collect::<Vec<_>>());
}

#[test]
fn hashes_of_crypt_and_of_web_frameworks_log_in() {
    let Some(python) = tool("python3") else { return };
    // Python 3.13 has no crypt module any more; the other formats need hashlib alone.
    let script = "
import base64, hashlib, os, sys
word = sys.argv[1]
try:
    import warnings; warnings.simplefilter('ignore'); import crypt
    for salt in ('$2a$04$' + 'a' * 22, '$2b$05$' + 'b' * 21 + 'u', '$2y$04$' + 'c' * 22, '$5$rounds=1500$abc', '$6$xyz', '$1$salt'):
        print(crypt.crypt(word, salt))
except ImportError:
    pass
salt = os.urandom(12)
for name in ('sha1', 'sha256', 'sha512'):
    key = hashlib.pbkdf2_hmac(name, word.encode(), salt, 3000)
    ab64 = lambda octets: base64.b64encode(octets).decode().rstrip('=').replace('+', '.')
    variant = '' if name == 'sha1' else '-' + name
    print('$pbkdf2%s$3000$%s$%s' % (variant, ab64(salt), ab64(key)))
    print('{PBKDF2-%s}3000$%s$%s' % (name.upper(), ab64(salt), ab64(key)))
key = hashlib.pbkdf2_hmac('sha256', word.encode(), b'django', 3000)
print('pbkdf2_sha256$3000$django$' + base64.b64encode(key).decode())
";
    let made = run(Command::new(python).args(["-c", script, WORD]), "").ok();
    let hashes: Vec<String> = made.lines().map(str::to_owned).collect();
    assert!(hashes.len() >= 7, "{made}");
    log_in_with_each(&hashes);
}

#[test]
fn a_new_password_takes_the_place_of_every_verifier() {
    let site = Site::new();
    let old = "'{SSHA512}F3boZXRFRI4bqAEyEcSZQf1rQPCoioyVhHObb76GlJvy17r/J/Se0YiimxHDFDZEHza4ZtOy0IkJsvqlth6mNeTd6f0='";
    site.add_to_directory(&format!(
        "[[account]]\nname = 'moved'\npassword = [\n  {old},\n]\naddresses = ['moved@posthouse.test']"
    ));
    let daemon = site.start();
    under_tls(&daemon).auth_plain("moved", "tea at five", 235);
    site.cli_with_input(&["account", "passwd", "moved", "--password-stdin"], "tea at six\n")
        .ok();
    site.cli(&["reload"]).ok();
    let file = std::fs::read_to_string(site.path().join("directory.toml")).expect("the directory");
    assert!(!file.contains("SSHA512"), "{file}");
    assert!(
        file.contains("\"$argon2id$") && file.contains("\"SCRAM-SHA-256$"),
        "{file}"
    );
    under_tls(&daemon).auth_plain("moved", "tea at five", 535);
    under_tls(&daemon).auth_plain("moved", "tea at six", 235);
}
